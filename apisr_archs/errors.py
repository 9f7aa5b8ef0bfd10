"""What can go wrong with a weight file, as exceptions whose text a user can act on.

ComfyUI shows the module of an exception's class before its text, and ours would be a long path; so each class says
that it is of "apisr".
"""


class ApisrError(Exception):
    """Base of every error this pack raises on purpose."""

    __module__ = "apisr"


class MissingWeights(ApisrError):
    """The named model file is not on this machine."""

    __module__ = "apisr"


class CorruptWeights(ApisrError):
    """The file is not a weight file, or only part of one."""

    __module__ = "apisr"


class UnsafeWeights(ApisrError):
    """The file would run code when loaded; it was not loaded."""

    __module__ = "apisr"


class UnsupportedWeights(ApisrError):
    """The file holds weights, but not of an image-to-image network that we know."""

    __module__ = "apisr"


class NotEnoughMemory(ApisrError):
    """Neither the result nor the smallest tile may be too large for the memory there is; one of them was."""

    __module__ = "apisr"


class DownloadFailed(ApisrError):
    """A download did not end with the verified file in place."""

    __module__ = "apisr"
