"""Draws figures of finished runs and shows them on a page.

write_report       runs, tables and searches -> page/, one HTML file
robustness_report  what `trivium evaluate protocol=...` writes: figures, and robustness_tables, of missing data
figure_style       the style of every figure; album: figures on their way to a page
run_figures        over epochs (bands, curve_panels); prediction_figures (task_figures: of classes, labels and several
                   scores), search_figures, robustness_figures
rate_curves        settings over missing rates, from what `trivium evaluate` wrote
embedding          maps of joint vectors
"""
