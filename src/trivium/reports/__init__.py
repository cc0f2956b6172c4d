"""Finished runs, tables and searches as figures and on one HTML page (page/); and scripts/evaluate.py's part of it."""
