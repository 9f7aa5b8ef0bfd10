"""Devices that callers name, checked before anything is moved there."""

from typing import Any

import torch


def named_device(device: Any, name: str = "device") -> torch.device:
    """`device` as torch's. Raises ValueError unless it is one, or the name of one."""
    if not isinstance(device, (str, torch.device)):
        raise ValueError(f"{name} is of the type {type(device).__name__}; expected a device like 'cpu' or 'cuda:0'.")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(_refusal(name, device, error)) from error


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
        raise ValueError(_refusal(name, device, error)) from error
    return found


def _refusal(name: str, device: Any, error: Exception) -> str:
    reason = (str(error).splitlines() or ["no reason given"])[0]
    return f"{name} is {str(device)!r}, which cannot be used here ({reason}). Use another one."
