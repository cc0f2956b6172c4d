"""Lists the errors that h5py raises for a damaged file. Other code raises them too: catch them around reading alone."""

# For a missing or broken object h5py raises KeyError, for the members of a broken group RuntimeError. Code that goes on
# with None for a missing value raises TypeError, and with a number where an array should be IndexError.
HDF5_ERRORS = (OSError, RuntimeError, LookupError, TypeError)
