"""Put this pack into a ComfyUI base directory without copying it where the system allows that."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path

PACK_FOLDER = "ComfyUI-APISR"
_NOT_PART_OF_THE_PACK = (".git", ".venv", ".comfyui", "demo_output", "__pycache__")


def link_pack(pack: Path, base: Path) -> Path:
    """Make a ComfyUI base directory `base` (where needed) and put `pack` into its custom_nodes.

    Returns the pack's path in there: a symbolic link, on Windows without that right a junction, else a copy.
    """
    for folder in ("custom_nodes", "models/upscale_models", "input", "output"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    place = base / "custom_nodes" / PACK_FOLDER
    if place.resolve() == pack.resolve():
        return place
    _remove_link_or_copy(place)
    try:
        place.symlink_to(pack.resolve(), target_is_directory=True)
    except OSError:
        if sys.platform == "win32":
            with contextlib.suppress(OSError):  # a junction needs no privilege, but both ends on local NTFS
                import _winapi

                _winapi.CreateJunction(str(pack.resolve()), str(place))
                return place
        shutil.copytree(pack, place, ignore=shutil.ignore_patterns(*_NOT_PART_OF_THE_PACK))
    return place


def _remove_link_or_copy(place: Path) -> None:
    """Never follows a link: what it points to is somebody's checkout."""
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        try:
            place.rmdir()  # a junction, or an empty folder
        except OSError:
            shutil.rmtree(place)
