"""Lists what h5py raises for a damaged file. Elsewhere these mean other things: catch them around reading alone."""

# A missing or broken object is a KeyError, a broken group's members a RuntimeError, a value that is not there None, an
# array that became a number an IndexError.
HDF5_ERRORS = (OSError, RuntimeError, LookupError, TypeError)
