"""What was learned about models on this machine: the facts of those that were loaded, and how fast each one is."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import folder_paths
import torch

from ..apisr_archs import Facts, UpscaleModel
from ..apisr_archs.text import get_logger

log = get_logger(__name__)

FILE = "pace.json"
"""In ComfyUI's user folder for this pack. Safe to delete."""


@dataclass(frozen=True)
class Loaded:
    """A model that was loaded: what an estimate and the loader's text need to know about it."""

    architecture: str
    parameters: int
    facts: Facts
    supports_half: bool


class Measured:
    """The models loaded since the start by the names of their files, and the pace of models, kept in a file.

    The pace is in seconds per input pixel that the network computes, halos included.
    """

    def __init__(self) -> None:
        self.models: dict[str, Loaded] = {}

    def note(self, model: UpscaleModel) -> None:
        """Remember a model that was loaded."""
        parameters = sum(parameter.numel() for parameter in model.model.parameters())
        self.models[model.name] = Loaded(model.architecture.name, parameters, model.facts, model.supports_half)

    def pace(self, name: str, dtype: torch.dtype, device: torch.device) -> float | None:
        """Seconds per input pixel of a model, as last measured; None if it never was."""
        value = _read().get(_key(name, dtype, device))
        return value if isinstance(value, float) and value > 0 else None

    def note_pace(self, name: str, dtype: torch.dtype, device: torch.device, seconds_per_pixel: float) -> None:
        """Keep a pace for later starts. A file that cannot be written is only logged."""
        paces = _read() | {_key(name, dtype, device): seconds_per_pixel}
        try:
            _write(paces)
        except OSError as error:
            log.info("The time of this run could not be noted for later estimates: %s", error)


MEASURED = Measured()
"""Those of this process, which has one ComfyUI."""


def device_name(device: torch.device) -> str:
    """The name of a graphics card, so that figures are not taken for another one's; "cpu" for the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _key(name: str, dtype: torch.dtype, device: torch.device) -> str:
    return f"{name}, {str(dtype).removeprefix('torch.')}, {device_name(device)}"


def _path() -> Path:
    return Path(folder_paths.get_system_user_directory("apisr"), FILE)


def _read() -> dict[str, object]:
    try:
        paces = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # never measured, or damaged: it is measured again
        return {}
    return paces if isinstance(paces, dict) else {}


def _write(paces: dict[str, object]) -> None:
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(paces, file, indent=1)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
