"""Prepares a data set: the same as `trivium prepare`."""

import sys

from trivium.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
