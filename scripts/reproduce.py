"""Reproduces a table: the same as `trivium reproduce`."""

import sys

from trivium.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["reproduce", *sys.argv[1:]]))
