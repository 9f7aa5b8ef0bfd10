"""Harmless things that training code pickles beside the weights, such as a metric as a numpy number.

torch's `weights_only` refuses a whole file for one of them. Here their names stand for objects that take what the
pickle gives them and keep nothing, so that the weights can be read and still no code of the file, nor of the libraries
that it names, runs.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

PLAIN = {
    "numpy.core.multiarray": ("scalar",),  # as numpy 1 wrote it
    "numpy._core.multiarray": ("scalar",),
    "argparse": ("Namespace",),
    "pathlib": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path"),
    "pathlib._local": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path"),  # Python 3.13
    "datetime": ("datetime", "date", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "uuid": ("UUID", "SafeUUID"),
    "types": ("SimpleNamespace",),
    "torch.torch_version": ("TorchVersion",),
    "pytorch_lightning.callbacks.model_checkpoint": ("ModelCheckpoint",),
    # what a defaultdict begins with; and what no pickle has an operation for
    "builtins": (
        *("int", "float", "str", "bool", "list", "dict", "tuple"),
        *("frozenset", "slice", "range", "Ellipsis", "NotImplemented"),
    ),
}
ARRAYS = {
    "numpy.core.multiarray": ("_reconstruct",),
    "numpy._core.multiarray": ("_reconstruct",),
    "numpy": ("ndarray",),
}
DICTS = {
    "collections": ("defaultdict",),
    "pytorch_lightning.utilities.parsing": ("AttributeDict",),
    "lightning.pytorch.utilities.parsing": ("AttributeDict",),
    "lightning_fabric.utilities.data": ("AttributeDict",),
    "lightning.fabric.utilities.data": ("AttributeDict",),
}
LISTS = {"collections": ("deque",)}
"""Module and names, as pickles have them, by the kind of stand-in."""


class _Inert:
    def __new__(cls, *_: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _InertArray(np.ndarray):
    """An array only because the real `_reconstruct`, which another pack may have allowed, makes nothing else."""

    def __new__(cls, *_: Any) -> Any:
        return super().__new__(cls, 0)

    def __setstate__(self, state: Any) -> None:
        pass


class _InertDict:
    def __new__(cls, *_: Any) -> Any:
        return {}  # torch fills in only what is exactly a dict


class _InertList:
    def __new__(cls, *_: Any) -> Any:
        return []  # torch fills in only what is exactly a list


def _dtype(code: Any, *_: Any) -> Any:
    """numpy's own, for the real `scalar`, which another pack may have allowed. A copy, as pickles ask for."""
    return np.dtype(code, copy=True)


def _bytes(*_: Any) -> bytes:
    """What pickles of an empty array call for its content."""
    return b""


def _named(kind: type, names: dict[str, tuple[str, ...]]) -> list[Any]:
    return [type(name, (kind,), {"__module__": module}) for module in names for name in names[module]]


_dtype.__module__, _dtype.__name__, _dtype.__qualname__ = "numpy", "dtype", "dtype"
_bytes.__module__, _bytes.__name__, _bytes.__qualname__ = "builtins", "bytes", "bytes"
STAND_INS = [
    *_named(_Inert, PLAIN),
    *_named(_InertArray, ARRAYS),
    *_named(_InertDict, DICTS),
    *_named(_InertList, LISTS),
]
STAND_INS += [_dtype, _bytes]
NUMBERS = [type(np.dtype(code)) for code in "?bhilqBHILQefdgFDG"]
"""Classes of numpy's dtypes of numbers. Setting the state of another one (object, void, text) from a file could make
numpy read addresses that the file chose."""
_LOCK = threading.Lock()


@contextmanager
def harmless_globals() -> Iterator[None]:
    """Let `torch.load(weights_only=True)` pass over the things that are listed here.

    torch has one list for the process. It is as before afterwards: what others have allowed, ComfyUI among them, stays
    allowed, also under the same name; either meaning of such a name works.
    """
    with _LOCK:
        allowed = torch.serialization.get_safe_globals()
        numbers = [kind for kind in set(NUMBERS) if kind not in allowed]  # leaving takes out what was entered here
        with torch.serialization.safe_globals([*STAND_INS, *numbers]):
            yield
