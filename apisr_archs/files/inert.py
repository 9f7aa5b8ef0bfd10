"""Harmless things that training code pickles beside the weights, such as a metric as a numpy number.

torch's `weights_only` refuses a whole file for one of them. Here their names stand for objects of ours that take what
the pickle gives them and keep nothing, so that the weights can be read and still no code of the file, nor of the
libraries that it names, runs.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

PLAIN = {
    "numpy": ("dtype", "ndarray"),
    "numpy.core.multiarray": ("scalar", "_reconstruct"),  # as numpy 1 wrote it
    "numpy._core.multiarray": ("scalar", "_reconstruct"),
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


class _InertDict:
    def __new__(cls, *_: Any) -> Any:
        return {}  # torch fills in only what is exactly a dict


class _InertList:
    def __new__(cls, *_: Any) -> Any:
        return []  # torch fills in only what is exactly a list


def _bytes(*_: Any) -> bytes:
    """What pickles of an empty array call for its content."""
    return b""


def _named(kind: type, names: dict[str, tuple[str, ...]]) -> list[Any]:
    return [type(name, (kind,), {"__module__": module}) for module in names for name in names[module]]


_bytes.__module__, _bytes.__name__, _bytes.__qualname__ = "builtins", "bytes", "bytes"
STAND_INS = [*_named(_Inert, PLAIN), *_named(_InertDict, DICTS), *_named(_InertList, LISTS), _bytes]
_LOCK = threading.Lock()


@contextmanager
def harmless_globals() -> Iterator[None]:
    """Let `torch.load(weights_only=True)` pass over the things that are listed here.

    torch has one list for the process. What others have allowed under the names of our stand-ins, ComfyUI among them,
    is hidden meanwhile: no object of numpy is ever made, since setting a dtype's state from a file can make numpy
    read addresses that the file chose. Afterwards the list is as it was before.
    """
    ours = {_name(entry) for entry in STAND_INS}
    with _LOCK:
        allowed = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        try:
            others = [entry for entry in allowed if _name(entry) not in ours]
            torch.serialization.add_safe_globals([*others, *STAND_INS])
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(allowed)


@contextmanager
def unchanged_globals() -> Iterator[None]:
    """Keep torch's list as it is meanwhile. A file that is read while it changes can seem to be damaged."""
    with _LOCK:
        yield


def _name(entry: Any) -> str:
    """What an entry of torch's list is called in pickles: a pair tells its name, anything else has one."""
    return entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}"
