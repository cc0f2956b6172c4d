"""Reproduces a table: `python scripts/reproduce.py --help`."""

import sys

from trivium.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["reproduce", *sys.argv[1:]]))
