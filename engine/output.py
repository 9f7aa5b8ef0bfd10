"""Memory for results: allocated if it fits, and explained if it runs out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..apisr_archs import NotEnoughMemory, is_out_of_memory
from . import devices


def allocate_output(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    is_out_of_memory: Callable[[BaseException], bool] = is_out_of_memory,
) -> Tensor:
    """Allocate an uninitialized output, (B, H, W, C) or (H, W, C).

    Checks the free memory first: Linux overcommits, and kills the process when it touches the pages.

    Raises:
        NotEnoughMemory: it does not fit.
    """
    *count, height, width, channels = shape
    number = count[0] if count else 1
    needed = number * height * width * channels * dtype.itemsize
    free, cause = devices.free_bytes(device), None
    if free is None or needed <= free:
        try:
            return torch.empty(shape, dtype=dtype, device=device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            cause = error
    raise NotEnoughMemory(
        f"{number} x {width}x{height} pixels take {needed / 2**30:.1f} GB of memory on {device}"
        f"{devices.free_memory_note(device)}. Upscale fewer pictures at a time, ask for a smaller size, or close other "
        "programs."
    ) from cause


@contextmanager
def explain_out_of_memory(is_out_of_memory: Callable[[BaseException], bool], device: torch.device) -> Iterator[None]:
    """Turn an out-of-memory error outside the network (canvas, resize, output) into NotEnoughMemory with figures."""
    try:
        yield
    except Exception as error:
        if isinstance(error, NotEnoughMemory) or not is_out_of_memory(error):
            raise
        exhausted = devices.CPU if devices.is_host_memory(error) else device
        raise NotEnoughMemory(
            f"Out of memory on {exhausted} while putting the picture together{devices.free_memory_note(exhausted)}. "
            "Upscale fewer pictures at a time, ask for a smaller size, or close other programs."
        ) from error
