"""Defines how a callback of a search ends a run."""


class Pruned(Exception):  # noqa: N818 - no error: it ends a trial of a search early
    """Ends a run that validation shows to be not worth finishing. The run gets no test and no result."""
