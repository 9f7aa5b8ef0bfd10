"""Compute devices: their free memory, measured memory peaks, and which devices share memory."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from . import system_memory

CPU = torch.device("cpu")

SHARE = 0.8
"""Share of the free memory that a plan may use; the rest covers fragmentation and other programs."""
UNKNOWN_FREE = 2 * 1024**3
"""Free memory in bytes, assumed if neither torch nor the system reports it."""
CPU_STRIP_BYTES = 48 * 2**20
"""Strip size in bytes with which CPUs are fastest. The C library requests blocks of more than 32 MB from the system and
returns them each time; then the first touch of a page costs as much as the arithmetic on it."""

ALLOCATED, HIGHEST = "allocated_bytes.all.current", "allocated_bytes.all.peak"
"""Keys of torch's `memory_stats`: bytes currently allocated, and their peak so far."""


def fast_strip_bytes(device: torch.device) -> int | None:
    """Size of the strips with which a device is fastest, in bytes; None if the size makes no difference."""
    return CPU_STRIP_BYTES if device.type == "cpu" else None


@dataclass
class Peak:
    """Peak of the allocated memory, minus what was allocated before; None if unknown."""

    bytes: int | None = None


@contextmanager
def measured(device: torch.device) -> Iterator[Peak]:
    """Measure the memory peak of the code inside; the result is available afterwards.

    It is read from torch's peak counter, which is not reset because other code may be using it. So the peak is known
    only if it exceeds all earlier ones in the process, and only on devices with such a counter.
    """
    peak = Peak()
    if device.type not in ("cuda", "xpu"):
        yield peak
        return
    statistics: Any = getattr(torch, device.type).memory_stats
    baseline = statistics(device)
    yield peak
    highest = statistics(device).get(HIGHEST, 0)
    if highest > baseline.get(HIGHEST, 0):
        peak.bytes = highest - baseline.get(ALLOCATED, 0)


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a device, in bytes, for callers without a memory manager; None if unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return system_memory.free_bytes() if device.type == "cpu" else None


def usable_bytes(device: torch.device) -> int:
    """Bytes of a device's free memory that a plan may use."""
    free = free_bytes(device)
    return UNKNOWN_FREE if free is None else int(free * SHARE)


def free_memory_note(device: torch.device) -> str:
    """How much memory is free, to end a sentence in an error message; empty if unknown."""
    free = free_bytes(device)
    return "" if free is None else f"; {free / 2**30:.1f} GB seem to be free"


def share_memory(one: torch.device, other: torch.device) -> bool:
    """Whether two devices use the same memory: a device and itself, or a Mac's CPU and GPU."""
    return same_device(one, other) or {one.type, other.type} == {"cpu", "mps"}


def is_host_memory(error: BaseException) -> bool:
    """Whether an out-of-memory error is about RAM rather than device memory."""
    return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def same_device(one: torch.device, other: torch.device) -> bool:
    """Whether two devices are the same. A device without an index, like "mps" or "cuda", matches any index."""
    return one.type == other.type and (one.index == other.index or None in (one.index, other.index))


def release_cached(device: torch.device) -> None:
    """Release unused memory that torch's allocator caches for a device."""
    empty_cache = getattr(getattr(torch, device.type, None), "empty_cache", None)
    if empty_cache:
        empty_cache()


def network_budget(output_bytes: int, device: torch.device, output_device: torch.device) -> int:
    """Usable bytes on the device, without those of the output.

    On a CPU these are subtracted: the output is allocated but not touched yet, so the system still counts it as free.
    """
    usable = usable_bytes(device)
    is_counted = output_device.type == device.type == "cpu" and free_bytes(device) is not None
    return max(0, usable - output_bytes) if is_counted else usable


@contextmanager
def without_gradients(device: torch.device) -> Iterator[None]:
    """Disable gradients. On DirectML also leave inference mode, in which ComfyUI runs nodes: it fails there."""
    outside = torch.inference_mode(False) if device.type == "privateuseone" else nullcontext()
    with outside, torch.no_grad():
        yield
