"""Evaluates a finished run: the same as `trivium evaluate`."""

import sys

from trivium.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
