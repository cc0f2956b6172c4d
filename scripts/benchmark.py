"""Measures speed and memory: `python scripts/benchmark.py --help`."""

import sys

from trivium.benchmark.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
