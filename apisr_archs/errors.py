"""What can go wrong with a weight file, as exceptions whose text a user can act on.

ComfyUI shows the module of an exception's class before its text, and ours would be a long path; so each class says
that it is of "apisr".
"""

import torch


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


OUT_OF_MEMORY = (
    "out of memory",  # CUDA, HIP, XPU, MPS
    "can't allocate memory",  # the CPU's allocator
    "not enough memory",  # the same on Windows
    "not enough gpu video memory",  # DirectML
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
    "could not create a memory object",  # oneDNN
    "bad_alloc",
)
"""What a RuntimeError that means it says, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on any device."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in OUT_OF_MEMORY)
