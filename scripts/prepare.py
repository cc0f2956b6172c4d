"""Prepares a data set: `python scripts/prepare.py --help`."""

import sys

from trivium.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
