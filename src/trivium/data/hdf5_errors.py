"""Lists the errors that h5py raises for a damaged file. Other code raises them too: catch them around reading alone."""

import errno

# For a missing or broken object h5py raises KeyError, for the members of a broken group RuntimeError. Code that goes on
# with None for a missing value raises TypeError, and with a number where an array should be IndexError.
HDF5_ERRORS = (OSError, RuntimeError, LookupError, TypeError)

# What an error number says of the system, or of the right to read, and not of the file's content.
_OF_THE_SYSTEM = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EIO}


def is_of_the_system(error: OSError) -> bool:
    """Tells whether an error says that the system could not read a file, so that preparing it again is no help."""
    return error.errno in _OF_THE_SYSTEM
