"""Reads the weights of super-resolution networks in ncnn's format (a text .param and a binary .bin file).

The .bin file has no names or sizes, only the weights one after another, in the order of the layers in .param. If
reading does not end exactly at the last byte, the format was misinterpreted, which is reported as an error.

    Convolution   uint32 flag, then fp16 weights padded to 4 bytes, then fp32 bias
    PReLU         fp32 slopes

Supports only the layers of Real-ESRGAN's networks. Needs only numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PARAM_MAGIC = "7767517"
FP16_FLAG = 0x01306B47
WEIGHTLESS = frozenset({"Input", "Split", "Concat", "Eltwise", "BinaryOp", "Interp", "PixelShuffle"})


class NcnnError(ValueError):
    """The .param or .bin file is damaged, or contains something that this reader does not support."""


@dataclass(frozen=True)
class Layer:
    """One layer with weights.

    `kind` is "Convolution": `weight` fp16 (out, in, kh, kw), `bias` fp32 (out,) or None.
    `kind` is "PReLU": `weight` fp32 (channels,), `bias` None.
    """

    name: str
    kind: str
    weight: np.ndarray
    bias: np.ndarray | None = None


@dataclass(frozen=True)
class _LayerSpec:
    """One line of .param: a layer before its weights are read."""

    name: str
    kind: str
    options: dict[int, str]

    def integer(self, key: int, default: int | None = None) -> int:
        if key not in self.options and default is not None:
            return default
        try:
            return int(self.options[key])
        except (KeyError, ValueError):
            found = self.options.get(key, "nothing")
            raise NcnnError(f"layer {self.name}: option {key} must be an integer, found {found}") from None


def read_layers(param_path: Path, bin_path: Path) -> list[Layer]:
    """Read all layers with weights, in the order of the file. Raises NcnnError, or OSError if unreadable."""
    specs = _parse_param(param_path)
    data = _Cursor(bin_path)
    layers = [_READERS[spec.kind](spec, data) for spec in specs if spec.kind not in WEIGHTLESS]
    data.expect_end()
    return layers


def compact_state_dict(layers: Sequence[Layer]) -> dict[str, np.ndarray]:
    """Name the layers as in the official Compact network: body.0, body.1, ... in order, including PReLUs."""
    expected = ["PReLU" if index % 2 else "Convolution" for index in range(len(layers))]
    if len(layers) % 2 == 0 or [layer.kind for layer in layers] != expected:
        raise NcnnError("not a Compact network: convolutions and PReLUs must alternate, convolutions at the ends")
    return _named(layers, [f"body.{index}" for index in range(len(layers))])


def rrdb_state_dict(layers: Sequence[Layer]) -> dict[str, np.ndarray]:
    """Name the layers as in the official RRDB network; the number of blocks follows from the number of layers."""
    outer, per_block = 6, 15
    blocks, rest = divmod(len(layers) - outer, per_block)
    if blocks < 1 or rest or any(layer.kind != "Convolution" for layer in layers):
        raise NcnnError(
            f"not an RRDB network: {len(layers)} layers, expected {outer} + {per_block} per block, all convolutions"
        )
    body = [
        f"body.{block}.rdb{dense}.conv{conv}"
        for block in range(blocks)
        for dense in range(1, 4)
        for conv in range(1, 6)
    ]
    return _named(layers, ["conv_first", *body, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"])


def _named(layers: Sequence[Layer], names: Sequence[str]) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for name, layer in zip(names, layers, strict=True):
        tensors[f"{name}.weight"] = layer.weight
        if layer.bias is not None:
            tensors[f"{name}.bias"] = layer.bias
    return tensors


def _parse_param(path: Path) -> list[_LayerSpec]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError:
        raise NcnnError(f"{path.name}: not a text .param file; ncnn's binary form is not supported") from None
    if len(lines) < 2 or lines[0].strip() != PARAM_MAGIC:
        found = lines[0][:40] if lines else "an empty file"
        raise NcnnError(f"{path.name}: not an ncnn .param file: starts with {found!r}, expected {PARAM_MAGIC}")
    rows = [line.split() for line in lines[2:] if line.strip()]
    announced = lines[1].split()[:1]
    if announced != [str(len(rows))]:
        raise NcnnError(f"{path.name}: announces {' '.join(announced)} layers but holds {len(rows)}: cut off?")
    return [_parse_row(path, row) for row in rows]


def _parse_row(path: Path, row: list[str]) -> _LayerSpec:
    """`kind name inputs outputs <input names> <output names> key=value ...`"""
    try:
        kind, name, inputs, outputs = row[0], row[1], int(row[2]), int(row[3])
        pairs = [word.split("=") for word in row[4 + inputs + outputs :]]
        options = {int(key): value for key, value in pairs}
    except (IndexError, ValueError):
        raise NcnnError(f"{path.name}: cannot read the layer line {' '.join(row)!r}") from None
    if kind not in WEIGHTLESS and kind not in _READERS:
        raise NcnnError(f"{path.name}: layer {name} is a {kind}, which this reader does not know")
    return _LayerSpec(name, kind, options)


class _Cursor:
    """A read position in the .bin file, which never moves past the end."""

    def __init__(self, path: Path) -> None:
        self.file_name = path.name
        self.data = path.read_bytes()
        self.position = 0

    def take(self, dtype: str, count: int, layer: str) -> np.ndarray:
        size = np.dtype(dtype).itemsize * count
        remaining = len(self.data) - self.position
        if size > remaining:
            raise NcnnError(f"{self.file_name}: cut off: layer {layer} needs {size} bytes, {remaining} are left")
        values = np.frombuffer(self.data, dtype, count, self.position)
        self.position += size
        return values

    def expect_end(self) -> None:
        if remaining := len(self.data) - self.position:
            raise NcnnError(f"{self.file_name}: {remaining} bytes are left after the last layer")


def _read_convolution(spec: _LayerSpec, data: _Cursor) -> Layer:
    out_channels, kernel_w = spec.integer(0), spec.integer(1)
    kernel_h, size = spec.integer(11, default=kernel_w), spec.integer(6)
    per_input = out_channels * kernel_h * kernel_w
    if per_input < 1 or size < 1 or size % per_input:
        raise NcnnError(f"layer {spec.name}: {size} weights do not fit {out_channels} outputs of {kernel_h}x{kernel_w}")
    flag = int(data.take("<u4", 1, spec.name)[0])
    if flag != FP16_FLAG:
        raise NcnnError(
            f"{data.file_name}: layer {spec.name} starts with 0x{flag:08X}, expected 0x{FP16_FLAG:08X} (fp16 weights)"
        )
    weight = data.take("<f2", size, spec.name).reshape(out_channels, -1, kernel_h, kernel_w)
    data.take("u1", weight.nbytes % 4, spec.name)
    bias = data.take("<f4", out_channels, spec.name) if spec.integer(5, default=0) else None
    return Layer(spec.name, spec.kind, weight, bias)


def _read_prelu(spec: _LayerSpec, data: _Cursor) -> Layer:
    return Layer(spec.name, spec.kind, data.take("<f4", spec.integer(0), spec.name))


_READERS = {"Convolution": _read_convolution, "PReLU": _read_prelu}
