"""Devices that callers name, checked before anything is moved there."""

from typing import Any

import torch

from .errors import is_out_of_memory

GPU_NAMES = ("gpu", "nvidia", "amd", "rocm")


def named_device(device: Any, name: str = "device") -> torch.device:
    """`device` as torch's. Raises ValueError, which names the argument, unless it is one, or the name of one."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        given = repr(device) if device is None or isinstance(device, str) else f"of the type {type(device).__name__}"
        hint = ' Nvidia and AMD GPUs are "cuda" in torch.' if str(device).lower() in GPU_NAMES else ""
        raise ValueError(
            f'{name} is {given}; expected a device of torch, like "cpu", "cuda" or "cuda:1".{hint}'
        ) from error


def usable_device(device: Any, name: str = "device") -> torch.device:
    """`device` as torch's.

    Raises:
        ValueError: it is no device, or none on which this process can compute: "meta", a GPU that is not there.
    """
    found = named_device(device, name)
    if found.type == "meta":
        raise ValueError(f"{name} is 'meta', which holds no numbers: what is moved there is lost. Use another one.")
    try:
        torch.empty(0, device=found)
    except Exception as error:  # torch raises many classes: RuntimeError, AssertionError, NotImplementedError
        if is_out_of_memory(error):
            return found  # it is there, but full: what needs memory on it fails with the numbers
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f'{name} is {str(device)!r}, which torch cannot use here ({reason}). Use "cpu".') from error
    return found
