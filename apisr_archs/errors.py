"""Exceptions whose text tells the user what to do.

ComfyUI shows the module of an exception's class before its text. Ours would be a long path, so each class sets its
module to "apisr".
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
    """Base class of the errors that this pack raises. The text can be written to every output (see `printable`)."""

    __module__ = "apisr"
    key = ""
    """Names the short form of the text, for places with little room. Empty: its first sentence is short enough."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__module__ = "apisr"

    @override
    def __str__(self) -> str:
        return printable(super().__str__())


class MissingWeights(ApisrError):
    """The requested model file is not on this machine."""

    key = "not_here"


class CorruptWeights(ApisrError):
    """The file is not a weight file, or is incomplete."""

    key = "damaged"


class UnsafeWeights(ApisrError):
    """The file could run code when loaded; it was not loaded."""

    key = "unsafe"


class UnsupportedWeights(ApisrError):
    """The file holds weights, but not those of a supported image-to-image network."""

    key = "no_model"


class NotEnoughMemory(ApisrError):
    """The output, or even the smallest tile, does not fit into memory."""

    key = "memory"


class DownloadFailed(ApisrError):
    """A download failed, or the downloaded file could not be verified."""

    def __init__(self, text: str = "", key: str = "not_fetched") -> None:
        super().__init__(text)
        self.key = key


class EscapedTraceback(ApisrError):
    """The cause of an error that replaces another one; its text is the full traceback of the original error."""


def printable_errors(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorator for functions called by a host: makes the traceback of every exception safe to write to every output.

    If the text, the causes or the file paths in the traceback cannot be written, the exception is replaced by one of
    the same class (or an ApisrError) with its text escaped and an EscapedTraceback as its cause. The frames of callers
    cannot be changed here.
    """

    def guarded(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            whole = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            if _is_printable(whole):
                raise
            raise _printable_copy(error) from EscapedTraceback(f"\n{whole}")

    # This frame is in every traceback, and the pack's folder may have any name.
    code = guarded.__code__
    guarded.__code__ = code.replace(co_filename=printable(code.co_filename))
    return wraps(function)(guarded)


def _printable_copy(error: Exception) -> Exception:
    try:
        copy: Exception = type(error)(printable(str(error)))
        vars(copy).update(vars(error))
    except Exception:  # the class takes other arguments
        copy = ApisrError(_last_lines(error))
    return copy if _is_printable(_last_lines(copy)) else ApisrError(_last_lines(error))


def _last_lines(error: Exception) -> str:
    """The class and text of an exception, as at the end of a traceback."""
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
"""Phrases in the text of a RuntimeError that means out of memory, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on any device."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in OUT_OF_MEMORY)
