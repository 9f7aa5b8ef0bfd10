"""Lets torch skip harmless objects that training code pickles with the weights, such as a metric as a numpy scalar.

A single one of them makes torch's `weights_only` reader refuse the whole file. Here their names are mapped to inert
stand-ins that accept any arguments and store nothing. So the weights can be read, and no code runs: neither from the
file, nor from the libraries that it names.
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
    # default factories of a defaultdict; and values that pickle has no operation for
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
"""Module -> names, as written in pickles. PLAIN, DICTS and LISTS differ in the type of the stand-in."""


class _Inert:
    def __new__(cls, *_: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _InertDict:
    def __new__(cls, *_: Any) -> Any:
        return {}  # torch only sets items on an exact dict


class _InertList:
    def __new__(cls, *_: Any) -> Any:
        return []  # torch only appends to an exact list


def _bytes(*_: Any) -> bytes:
    """Stand-in for `bytes`, which pickles of an empty array call to create its content."""
    return b""


def _named(kind: type, names: dict[str, tuple[str, ...]]) -> list[Any]:
    return [type(name, (kind,), {"__module__": module}) for module in names for name in names[module]]


_bytes.__module__, _bytes.__name__, _bytes.__qualname__ = "builtins", "bytes", "bytes"
STAND_INS = [*_named(_Inert, PLAIN), *_named(_InertDict, DICTS), *_named(_InertList, LISTS), _bytes]
_LOCK = threading.Lock()


@contextmanager
def harmless_globals() -> Iterator[None]:
    """Make `torch.load(weights_only=True)` replace the objects listed in this module with inert stand-ins.

    torch has one list of allowed globals per process. Entries that others, such as ComfyUI, have added under the same
    names are hidden meanwhile, so that no numpy object is ever created: restoring a dtype's state from a malicious
    file can make numpy read from addresses chosen by the file. The list is restored on exit.
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
    """The name that pickles use for an entry of torch's list, which is an object or a pair (object, name)."""
    return entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}"
