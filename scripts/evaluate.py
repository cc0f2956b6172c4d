"""Evaluates a finished run: `python scripts/evaluate.py --help`."""

import sys

from trivium.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
