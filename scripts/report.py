"""Shows runs, a table or a search on a page: the same as `trivium report`."""

import sys

from trivium.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
