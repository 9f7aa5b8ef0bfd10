"""What can go wrong with a weight file, as exceptions whose text a user can act on."""


class ApisrError(Exception):
    """Base of every error this pack raises on purpose."""


class MissingWeights(ApisrError):
    """The named model file is not on this machine."""


class CorruptWeights(ApisrError):
    """The file is not a weight file, or only part of one."""


class UnsafeWeights(ApisrError):
    """The file would run code when loaded; it was not loaded."""


class UnsupportedWeights(ApisrError):
    """The file holds weights, but not of an image-to-image network that we know."""


class DownloadFailed(ApisrError):
    """A download did not end with the verified file in place."""
