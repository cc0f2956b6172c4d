"""Reproduces a table: `python scripts/reproduce.py --help`."""

import sys

from trivium.cli.reproduce import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
