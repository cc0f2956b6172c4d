"""Parses each command and runs it; scripts/ are one line each over these."""
