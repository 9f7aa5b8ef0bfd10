"""Files made to crash the process, or worse, read in a separate process with the names other packs may allow."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADS = """
import importlib.util, sys, torch
root = sys.argv[1]
spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
from pack.apisr_archs import ApisrError, load_model
if sys.argv[3] == "numpy's scalar":
    import numpy
    torch.serialization.add_safe_globals([numpy._core.multiarray.scalar])
try:
    load_model(sys.argv[2])
except ApisrError as error:
    print("refused:", type(error).__name__)
"""
"""The pack by path, as ComfyUI loads it."""


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def dtype(code: str) -> bytes:
    return name("numpy", "dtype") + text(code) + b"\x89\x88\x87R"


def state(subarray: bytes) -> bytes:
    """Set a dtype's state: as pickles of dtypes do, but with any subarray."""
    return b"(K\x03" + text("<") + subarray + b"NN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"


ITSELF = b"}" + dtype("f8") + b"q\x01" + state(b"h\x01K\x01\x85\x86") + b"Ns"
"""A dtype whose subarray is made of itself, as the key of a dict: numpy's hash never ends."""
OBJECTS = dtype("f8") + state(dtype("O8") + b"K\x01\x85\x86")
STRUCT = name("numpy", "dtype") + b"]" + text("x") + OBJECTS + b"\x86a\x85R"
ADDRESS = name("numpy._core.multiarray", "scalar") + STRUCT + b"U\x08" + b"A" * 8 + b"\x86R" + b")R"
"""A number whose bytes are the address of an object; torch would print it in its error."""
FILES = {"a dtype of itself": ITSELF, "an address": ADDRESS}


@pytest.mark.slow
@pytest.mark.parametrize("allowed", ["nothing", "numpy's scalar"])
@pytest.mark.parametrize("kind", FILES)
def test_the_process_survives(kind: str, allowed: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + FILES[kind] + b".")
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")
    for _ in range(2 if kind == "an address" else 1):  # which name wins must not be left to chance
        done = subprocess.run(
            [sys.executable, "-c", LOADS, str(ROOT), str(path), allowed], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.startswith("refused:")
