"""Parses the command line of each verb and runs it. main chooses the verb; scripts/ are one line each over these."""
