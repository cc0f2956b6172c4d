"""Trains one run, or with -m one for each combination of values: the same as `trivium train`."""

import sys

from trivium.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
