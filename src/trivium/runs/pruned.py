"""Defines the exception by which a callback of a search ends a run."""


class Pruned(Exception):  # noqa: N818 - a pruned trial is no error
    """Ends a run early whose validation is too poor to finish it. The run gets no test and no result."""
