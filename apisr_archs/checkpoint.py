"""From a file to a clean state dict. Never runs code from the file.

Training code wraps and prefixes weights in many ways; what leaves this module is one flat dict of tensors with the
names that the network's authors gave them.
"""

import pickle
import pickletools
import warnings
import zipfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .errors import CorruptWeights, MissingWeights, UnsafeWeights
from .zoo import find

StateDict = dict[str, Tensor]

WRAPPERS = ("model_state_dict", "params_ema", "params-ema", "params", "state_dict", "model", "net")
"""Keys under which training code keeps the weights, the better choice first (EMA weights before raw ones)."""
SIGNS_OF_CODE = ("Unsupported global", "unsupported GLOBAL", "reduce", "Unsupported class", "Unsupported operand")
"""Parts of what torch says of a pickle that asks for more than `weights_only` allows."""
PICKLES = 5
"""Torch's old format is so many pickles (magic, protocol, system, object, keys), then raw numbers."""
MAX_DEPTH = 8
"""Wrappers within wrappers; more is a file that contains itself."""
PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


def read_state_dict(path: str | Path) -> StateDict:
    """Read, unwrap and rename the weights in a .safetensors or PyTorch file. Tensors are on the CPU.

    The format is told by the content, not by the name. Tensors may be memory-mapped: copy what you keep.

    Raises:
        MissingWeights: there is no such file, or none that may be read.
        CorruptWeights: it is empty, cut short, a web page, a Git-LFS pointer or no weight file at all.
        UnsafeWeights: it is a pickle that would run code, or a TorchScript program.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingWeights(f"There is no model file {path}.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except PermissionError as error:
        raise MissingWeights(f"{path} may not be read by this user. Change its rights.") from error
    _refuse_impostors(path, head)
    content = _read_safetensors(path) if head[8:9] == b"{" else _read_pytorch(path, head)
    weights = strip_prefixes(unwrap(content))
    if not weights:
        raise CorruptWeights(f"{path} holds no weights: no named tensors were found in it. Choose another file.")
    return weights


def unwrap(content: Any) -> StateDict:
    """The tensors of a state dict, wrapped by training code or not. Empty if there are none."""
    for _ in range(MAX_DEPTH):
        if not isinstance(content, Mapping):
            break
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner and len(content) == 1:
            inner = [value for value in content.values() if isinstance(value, Mapping)]
        if not inner:
            return {key: v for key, v in content.items() if isinstance(key, str) and isinstance(v, Tensor)}
        content = inner[0]
    return {}


def strip_prefixes(weights: StateDict) -> StateDict:
    """Remove `PREFIXES` that all names share, in any order and number."""
    while weights:
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in weights)), None)
        if prefix is None:
            break
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _refuse_impostors(path: Path, head: bytes) -> None:
    """Name the usual things that are saved under a model's name by mistake."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise CorruptWeights(f"{path} is empty. {_advice(path)}")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        raise CorruptWeights(f"{path} is a web page, not a model: the download saved the page. {_advice(path)}")
    if text.startswith(b"version https://git-lfs"):
        raise CorruptWeights(f"{path} is a Git-LFS pointer, not the model it stands for. {_advice(path)}")


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CorruptWeights(f"{path} is damaged or cut short ({error}). {_advice(path)}") from error


def _read_pytorch(path: Path, head: bytes) -> Any:
    is_zip = head.startswith(b"PK\x03\x04")
    if is_zip:
        _refuse_bad_archive(path)
    elif head[257:262] == b"ustar":
        # torch before 2.6 ran code out of these in spite of `weights_only` (CVE-2025-32434)
        raise UnsafeWeights(
            f"{path} is in torch's oldest format, a tar file, which is not safe to read. Get another file."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch asks to be told about bare pickles
            # mapped: of a DAT file only the half that is not derived buffers is ever read
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        asks_for_code = any(sign in str(error) for sign in SIGNS_OF_CODE)
        if asks_for_code and (is_zip or _begins_with_whole_pickle(path, head)):
            # "from None": torch's own text advises to load such a file unsafely
            raise UnsafeWeights(
                f"{path} was not loaded: it is a pickle with more than weights in it, and such a file can run any code "
                "on this machine. Get the model as .safetensors, or from its author's page."
            ) from None
        raise CorruptWeights(f"{path} is damaged, cut short or no model file. {_advice(path)}") from error
    except MemoryError:
        raise
    except OSError as error:
        raise CorruptWeights(f"{path} could not be read: {error}.") from error
    except Exception as error:  # torch.load throws nearly anything at bytes that are no whole checkpoint
        raise CorruptWeights(f"{path} is damaged, cut short or no model file. {_advice(path)}") from error


def _refuse_bad_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise CorruptWeights(f"{path} is damaged or cut short. {_advice(path)}") from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise UnsafeWeights(
            f"{path} is a TorchScript program, not weights; it was not run. Get the model as .safetensors or .pth."
        )


def _begins_with_whole_pickle(path: Path, head: bytes) -> bool:
    """Whether the file is a pickle that is not cut short; it is read without running it."""
    if not head.startswith(b"\x80"):
        return False
    with path.open("rb") as file:
        try:
            for _ in range(PICKLES):
                if file.peek(1)[:1] == b"\x80":
                    deque(pickletools.genops(file), maxlen=0)
        except ValueError:
            return False
        except (MemoryError, OverflowError):
            return True  # lengths that no honest file has
    return True


def _advice(path: Path) -> str:
    """What to do about a bad file; with what the good one looks like, if its name is known."""
    size = f"It has {path.stat().st_size:,} bytes."
    known = find(path.name)
    if known is None:
        return f"{size} Download it again."
    addresses = " or ".join(known.urls)
    return (
        f"{size} The right file has {known.bytes:,} bytes and sha256 {known.sha256}. Delete this one and run again, or "
        f"get it from {addresses}"
    )
