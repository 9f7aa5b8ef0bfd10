"""Devices that callers name, checked before anything is moved there."""

from typing import Any

import torch


def usable_device(device: Any, name: str = "device") -> torch.device:
    """`device` as torch's.

    Raises:
        ValueError: it is no device, or none on which this process can compute: "meta", a GPU that is not there.
    """
    if not isinstance(device, (str, torch.device)):
        raise ValueError(f"{name} is of the type {type(device).__name__}; expected a device like 'cpu' or 'cuda:0'.")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except Exception as error:  # torch raises many classes: RuntimeError, AssertionError, NotImplementedError
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ValueError(
            f"{name} is {str(device)!r}, which cannot be used here ({reason}). Use another one."
        ) from error
    if found.type == "meta":
        raise ValueError(
            f"{name} is 'meta', which holds no numbers; a model moved there loses its weights. Use another one."
        )
    return found
