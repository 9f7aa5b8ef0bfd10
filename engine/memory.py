"""How much memory a tile needs, how much there is, and what running out of it looks like."""

from pathlib import Path

import torch

from ..apisr_archs import Facts

SHARE = 0.8
"""Part of the free memory that a plan may use: the rest covers fragmentation and other programs."""
UNKNOWN_FREE = 2 * 1024**3
"""Assumed where neither torch nor the system tells."""

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


def pixels_within(budget: int, facts: Facts, dtype: torch.dtype) -> int:
    """How many input pixels a tile may have, for its activations to stay within `budget` bytes. At least 1."""
    return max(1, int(budget) // facts.bytes_per_pixel[dtype])


def bytes_for(pixels: int, facts: Facts, dtype: torch.dtype) -> int:
    """Peak activation memory of a tile of so many input pixels, in bytes."""
    return pixels * facts.bytes_per_pixel[dtype]


def free_bytes(device: torch.device) -> int:
    """Memory that a plan may use on a device, in bytes, for callers without a memory manager."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int((free + cached) * SHARE)
    meminfo = Path("/proc/meminfo")
    if device.type == "cpu" and meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(int(lines["MemAvailable"].split()[0]) * 1024 * SHARE)
    return UNKNOWN_FREE


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on any device."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in OUT_OF_MEMORY)


def same_device(one: torch.device, other: torch.device) -> bool:
    """Whether two names mean one device: "mps" and "mps:0" do, as "cuda" may be any of its GPUs."""
    return one.type == other.type and (one.index == other.index or None in (one.index, other.index))


def release_cached(device: torch.device) -> None:
    """Give memory that torch's allocator keeps for a device back to it."""
    empty_cache = getattr(getattr(torch, device.type, None), "empty_cache", None)
    if empty_cache:
        empty_cache()
