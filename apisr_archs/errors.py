"""What can go wrong with a weight file, as exceptions whose text a user can act on.

ComfyUI shows the module of an exception's class before its text, and ours would be a long path; so each class says
that it is of "apisr".
"""

import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from typing_extensions import override

from .text import printable

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class ApisrError(Exception):
    """Base of every error this pack raises on purpose. Its text can be written to every output (see `printable`)."""

    __module__ = "apisr"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__module__ = "apisr"

    @override
    def __str__(self) -> str:
        return printable(super().__str__())


class MissingWeights(ApisrError):
    """The named model file is not on this machine."""


class CorruptWeights(ApisrError):
    """The file is not a weight file, or only part of one."""


class UnsafeWeights(ApisrError):
    """The file would run code when loaded; it was not loaded."""


class UnsupportedWeights(ApisrError):
    """The file holds weights, but not of an image-to-image network that we know."""


class NotEnoughMemory(ApisrError):
    """The output, or even the smallest tile, does not fit into memory."""


class DownloadFailed(ApisrError):
    """A download did not end with the verified file in place."""


class EscapedTraceback(ApisrError):
    """Cause of an error that stands for another one: the other one's whole traceback, as text."""


def printable_errors(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorator for what a host calls: whatever the function raises, the traceback can be written to every output.

    An exception that cannot be, because of its text, its causes or the paths of its frames, is replaced by one of the
    same class (else an ApisrError) with that text escaped; its cause is an EscapedTraceback. Frames of callers are
    not in our hands.
    """

    def guarded(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            whole = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            if _is_printable(whole):
                raise
            raise _printable_copy(error) from EscapedTraceback(f"\n{whole}")

    # This frame is part of every traceback, and the folder of the pack may have any name.
    code = guarded.__code__
    guarded.__code__ = code.replace(co_filename=printable(code.co_filename))
    return wraps(function)(guarded)


def _printable_copy(error: Exception) -> Exception:
    try:
        copy: Exception = type(error)(printable(str(error)))
    except Exception:  # the class takes other arguments
        copy = ApisrError(_last_lines(error))
    return copy if _is_printable(_last_lines(copy)) else ApisrError(_last_lines(error))


def _last_lines(error: Exception) -> str:
    """Class and text of an exception, as at the end of a traceback."""
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def _is_printable(text: str) -> bool:
    return printable(text) == text


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
