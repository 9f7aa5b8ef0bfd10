"""Reads a weight file into a clean state dict. Never runs code from the file.

The result is one flat dict of tensors, under the names that the network's authors gave them.
"""

import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..errors import CorruptWeights, MissingWeights, UnsupportedWeights, is_out_of_memory
from ..text import get_logger, shown
from .formats import HEAD, download_again, refuse_other_formats
from .inert import harmless_globals, unchanged_globals
from .names import StateDict, strip_prefixes, unwrap
from .pickles import refuse_pickle

__all__ = ["StateDict", "read_state_dict", "strip_prefixes", "unwrap"]

log = get_logger(__name__)

MAX_HEADER_BYTES = 100_000_000
"""Maximum header size in bytes that the safetensors library accepts."""
FLOAT8 = {getattr(torch, f"float8_{kind}", None) for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz")} - {None}
"""8-bit float dtypes. Their values can be used directly, unless the file also holds scales for them."""
SCALES = ("scaled_fp8", "scale_weight", "scale_input", "weight_scale", "input_scale", "weight_scale_inv")
"""Last name parts of the scale tensors that fp8 weights must be multiplied by before use."""


def read_state_dict(path: str | Path) -> StateDict:
    """Read, unwrap and rename the weights in a .safetensors or PyTorch file. Tensors are on the CPU.

    The format is detected from the content, not from the file name. Tensors may be memory-mapped: copy what you
    keep.

    Raises:
        MissingWeights: the file does not exist or may not be read.
        CorruptWeights: it is empty, truncated, a web page, a Git-LFS pointer or not a weight file at all.
        UnsafeWeights: it is a pickle that could run code, or a TorchScript program.
        UnsupportedWeights: it is an archive or another program's model, or uses a pickle protocol that torch cannot
            read safely, or its weights are quantized or complex.
    """
    path = Path(path)
    head = _read_head(path)
    if _is_safetensors(head):
        content = _read_safetensors(path)
    else:
        refuse_other_formats(path, head)
        content = _read_pytorch(path, head)
    weights = strip_prefixes(unwrap(content))
    if not weights:
        keys = ", ".join(map(ascii, list(content)[:6])) if isinstance(content, Mapping) else ""
        found = f" (it has the entries {keys})" if keys else ""
        raise CorruptWeights(f"{path} holds no weights: no named tensors were found in it{found}. Choose another file.")
    return _usable_weights(path, weights)


def _read_head(path: Path) -> bytes:
    try:
        if path.is_symlink() and not path.exists():
            target = os.path.realpath(path)
            raise MissingWeights(
                f"{path} is a link to {target}, which is not there. Fix the link, or connect the drive."
            )
        if path.is_dir():
            raise MissingWeights(f"{path} is a folder, not a model file. Choose a file in it.")
        if not path.is_file():
            raise MissingWeights(f"There is no model file {path}.")
        with path.open("rb") as file:
            return file.read(HEAD)
    except PermissionError as error:
        raise MissingWeights(f"{path} cannot be read by this user. Change its permissions.") from error
    except OSError as error:
        raise CorruptWeights(f"{path} could not be read: {error}.") from error


def _usable_weights(path: Path, weights: StateDict) -> StateDict:
    """Convert fp8 weights to fp32 and refuse what no network can compute with. Integer buffers are kept unchanged."""
    fp8_names = {name for name, value in weights.items() if value.dtype in FLOAT8}
    for name, value in weights.items():
        encoding = "scaled fp8" if fp8_names and name.rpartition(".")[2] in SCALES else _quantized_dtype(name, value)
        if encoding:
            raise UnsupportedWeights(
                f"{path} holds quantised weights ({shown(name)} is {encoding}), which no network here computes with. "
                "Get the same model in fp16 or fp32."
            )
        if value.layout is not torch.strided or value.is_meta:
            raise UnsupportedWeights(
                f"{path} holds {shown(name)} in a form without plain numbers ({value.layout}, {value.device}). Get the "
                "same model as .safetensors."
            )
        if value.is_complex():
            raise UnsupportedWeights(
                f"{path} holds complex numbers ({shown(name)}), which no network here computes with. Choose another "
                "model."
            )
    return {name: value.float() if name in fp8_names else value for name, value in weights.items()}


def _quantized_dtype(name: str, value: Tensor) -> str | None:
    """The dtype of a tensor whose values must be scaled or unpacked before use; None for any other tensor."""
    last = name.rpartition(".")[2]
    if value.is_floating_point() or value.is_complex():
        packed = value.dtype.itemsize == 1 and value.dtype not in FLOAT8  # e8m0 scales, or packed 4-bit floats
    else:
        packed = (
            value.is_quantized
            or "weight" in last
            or last == "bias"
            or (value.dtype in (torch.int8, torch.uint8) and value.ndim > 1)
        )
    return str(value.dtype).removeprefix("torch.") if packed else None


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES


def _read_safetensors(path: Path) -> StateDict:
    try:
        if _is_utf8(path):
            return safetensors.torch.load_file(path)
        return safetensors.torch.load(path.read_bytes())
    except SafetensorError as error:
        end, size = _end_of_tensors(path), path.stat().st_size
        if end is None or end >= size:
            raise CorruptWeights(f"{path} is damaged or cut short ({error}). {download_again(path)}") from error
    try:
        with path.open("rb") as file:
            weights = safetensors.torch.load(file.read(end))
    except SafetensorError as error:
        raise CorruptWeights(f"{path} is damaged ({error}). {download_again(path)}") from error
    log.warning("%s is %d bytes longer than its tensors; the rest was not read.", path, size - end)
    return weights


def _end_of_tensors(path: Path) -> int | None:
    """Offset in bytes of the end of the last tensor, from the .safetensors header. None if the header is invalid."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
    if not all(isinstance(end, int) for end in ends):
        return None
    return 8 + length + max(ends, default=0)


def _read_pytorch(path: Path, head: bytes) -> Any:
    is_zip = head.startswith(b"PK\x03\x04")
    # memory-mapped so that derived buffers, half of a DAT file, are never read
    memory_map = is_zip and _is_utf8(path) and _is_uncompressed(path)
    try:
        try:
            with unchanged_globals():
                return _load(path, memory_map)
        except pickle.UnpicklingError:
            with harmless_globals():
                return _load(path, memory_map)
    except pickle.UnpicklingError as error:
        refuse_pickle(path, head, error)
        raise CorruptWeights(f"{path} is damaged, cut short or no model file. {download_again(path)}") from error
    except MemoryError:
        raise
    except OSError as error:
        raise CorruptWeights(f"{path} could not be read: {error}.") from error
    except Exception as error:  # torch.load raises almost any class on damaged files
        if is_out_of_memory(error) and _bytes_asked_for(error) <= path.stat().st_size:
            raise
        raise CorruptWeights(f"{path} is damaged, cut short or no model file. {download_again(path)}") from error


def _bytes_asked_for(error: Exception) -> int:
    """Size of the failed allocation, parsed from torch's message. A damaged file may ask for more than its own size."""
    match = re.search(r"allocate (\d+) bytes", str(error))
    return int(match[1]) if match else 0


def _load(path: Path, memory_map: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns about bare pickles
        if memory_map:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        with path.open("rb") as file:  # torch.load can only open paths that are valid UTF-8
            return torch.load(file, map_location="cpu", weights_only=True)


def _is_utf8(path: Path) -> bool:
    """Whether the path is valid UTF-8; torch and safetensors can only open such paths."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_uncompressed(path: Path) -> bool:
    """Whether no entry of the zip archive is compressed. Compressed entries cannot be memory-mapped."""
    with zipfile.ZipFile(path) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
