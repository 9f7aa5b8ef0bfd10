"""Checks devices given by callers before anything is moved there."""

from typing import Any

import torch

from .errors import is_out_of_memory

GPU_NAMES = ("gpu", "nvidia", "amd", "rocm")


def named_device(device: Any, name: str = "device") -> torch.device:
    """Convert `device` to a torch.device. Raises ValueError, with the argument's `name`, if that is not possible."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        given = repr(device) if device is None or isinstance(device, str) else f"of the type {type(device).__name__}"
        hint = ' Nvidia and AMD GPUs are "cuda" in torch.' if str(device).lower() in GPU_NAMES else ""
        raise ValueError(
            f'{name} is {given}; expected a device of torch, like "cpu", "cuda" or "cuda:1".{hint}'
        ) from error


def usable_device(device: Any, name: str = "device") -> torch.device:
    """Convert `device` to a torch.device on which this process can compute.

    Raises:
        ValueError: it is not a device, or cannot be used here: "meta", a GPU that this machine lacks.
    """
    found = named_device(device, name)
    if found.type == "meta":
        raise ValueError(f"{name} is 'meta', which holds no numbers: anything moved there is lost. Use another one.")
    try:
        torch.empty(0, device=found)
    except Exception as error:  # torch raises many classes: RuntimeError, AssertionError, NotImplementedError
        if is_out_of_memory(error):
            return found  # it exists but is full: a later allocation reports the numbers
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f'{name} is {str(device)!r}, which torch cannot use here ({reason}). Use "cpu".') from error
    return found
