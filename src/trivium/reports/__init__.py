"""Finished runs as figures and on a page.

report       scripts/report.py -> page/, one HTML file
evaluate     scripts/evaluate.py -> robustness, or trivium.runs.evaluate_run
records      finished runs as figures and pages read them; study: a search's trials; spread: over seeds
figures      the style of every figure; album: figures on their way to a page. Which: run_figures (bands, curve_panels),
             prediction_figures, search_figures, robustness_figures; embedding: maps of joint vectors
"""
