"""Prepares a data set: `python scripts/prepare.py --help`."""

import sys

from trivium.cli.prepare import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
