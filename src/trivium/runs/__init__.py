"""Runs: directory, checkpoints, resume, launching on many devices."""
