"""Lets `python -m trivium` be the command `trivium`."""

import sys

from trivium.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
