"""Code shared by the benchmarks: importing the pack and ComfyUI, and saving results with device and versions."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


Size = tuple[int, int]
"""Width and height."""


def size_of(text: str) -> Size:
    """The size in an argument like 1280x720."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or "0" in found.groups():
        raise argparse.ArgumentTypeError(f"{text} is not a size; expected WxH, like 1280x720")
    return int(found[1]), int(found[2])


def load_pack() -> None:
    """Import the checkout as `apisr_pack`, as the tests do."""
    spec = importlib.util.spec_from_file_location(
        "apisr_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["apisr_pack"] = module
    spec.loader.exec_module(module)


def load_comfyui() -> None:
    """Make ComfyUI's own modules importable; on the CPU if there is no GPU."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        sys.exit("This benchmark compares with ComfyUI: run it with `python dev.py bench`, or set COMFYUI_PATH.")
    sys.path.append(path)
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()


def save(name: str, rows: list[dict[str, Any]], folder: Path = RESULTS, **more: Any) -> Path:
    """Write rows to <folder>/<name>.json, with device, versions, commit and any further entries in `more`."""
    record = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
        **more,
        "rows": rows,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy of the checkout without its history
        return "unknown"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"
