"""Measures speed and memory beside what one would use otherwise. Importing this package imports nothing.

It lies outside the installed package, and nothing there imports it. scripts/benchmark.py runs it.
"""
