"""How a callback of a search ends a run."""


class Pruned(Exception):  # noqa: N818 - no error: it ends a trial of a search early
    """Raised by a callback: validation shows that the run is not worth its end. It gets no test and no result."""
