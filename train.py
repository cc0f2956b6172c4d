"""Trains one run, or with -m one for each combination of values: the same as `trivium train`."""

import sys

from trivium.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
