"""Measures speed and memory: `python scripts/benchmark.py --help`."""

import sys
from pathlib import Path

# benchmarks/ lies beside the package, and is not installed with it.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
