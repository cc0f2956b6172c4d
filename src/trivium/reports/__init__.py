"""Draws figures of finished runs and shows them on a page.

report             scripts/report.py -> page/, one HTML file
evaluate_command   scripts/evaluate.py -> robustness_report, or trivium.runs.evaluate_run
figure_style       the style of every figure; album: figures on their way to a page
run_figures        over epochs (bands, curve_panels); prediction_figures, search_figures, robustness_figures
embedding          maps of joint vectors
"""
