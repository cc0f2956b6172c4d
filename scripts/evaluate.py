"""Evaluates a finished run: `python scripts/evaluate.py --help`."""

import sys

from trivium.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
