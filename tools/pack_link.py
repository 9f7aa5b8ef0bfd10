"""Links this pack into a ComfyUI base directory, or copies it if the system does not allow links."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path

PACK_FOLDER = "ComfyUI-APISR"
_NOT_PART_OF_THE_PACK = (".git", ".venv", ".comfyui", "demo_output", "__pycache__")


def link_pack(pack: Path, base: Path) -> Path:
    """Create the ComfyUI base directory `base` if it does not exist, and link `pack` into its custom_nodes.

    Returns the path of the link: a symbolic link; on Windows without the right to create those, a junction; else a
    copy.
    """
    for folder in ("custom_nodes", "models/upscale_models", "input", "output"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    link = base / "custom_nodes" / PACK_FOLDER
    if link.resolve() == pack.resolve():
        return link
    _remove_link_or_copy(link)
    try:
        link.symlink_to(pack.resolve(), target_is_directory=True)
    except OSError:
        if sys.platform == "win32":
            with contextlib.suppress(OSError):  # a junction needs no privilege, but source and target on local NTFS
                import _winapi

                _winapi.CreateJunction(str(pack.resolve()), str(link))
                return link
        shutil.copytree(pack, link, ignore=shutil.ignore_patterns(*_NOT_PART_OF_THE_PACK))
    return link


def _remove_link_or_copy(path: Path) -> None:
    """Remove an earlier link or copy. Never follows a link: its target is a checkout."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        try:
            path.rmdir()  # a junction, or an empty folder
        except OSError:
            shutil.rmtree(path)
