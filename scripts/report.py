"""Shows runs, a table or a search on a page: `python scripts/report.py --help`."""

import sys

from trivium.cli.report import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
