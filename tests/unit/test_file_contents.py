"""Weights that are no plain numbers, and files that are longer or shorter than their weights."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from apisr_pack.apisr_archs import CorruptWeights, UnsupportedWeights, load_model
from apisr_pack.apisr_archs.files.checkpoint import read_state_dict
from apisr_pack.tests import reference
from apisr_pack.tests.reference import save
from torch import Tensor

Weights = dict[str, Tensor]

WEIGHTS = {"conv.weight": torch.rand(8, 8), "conv.bias": torch.rand(8)}


def same(found: Weights) -> bool:
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


def test_complex_weights_are_refused(tmp_path: Path) -> None:
    path = save({**WEIGHTS, "a.filter": torch.zeros(3, dtype=torch.complex64)}, tmp_path / "a.pth")
    with pytest.raises(UnsupportedWeights, match=r"complex numbers \(a\.filter\)"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "value", [torch.zeros(2, 2, dtype=torch.int8), torch.rand(4, 4).to_sparse(), torch.zeros(2) * 1j]
)
def test_control_characters_in_names_are_escaped(value: Tensor, tmp_path: Path) -> None:
    path = save({**WEIGHTS, "a\x1b[2J\n.weight": value}, tmp_path / "a.pth")
    with pytest.raises(UnsupportedWeights, match=r"a\\x1b\[2J\\n\.weight"):
        read_state_dict(path)


@pytest.mark.parametrize("extra", [1, 16, 4096])
def test_bytes_after_the_last_tensor(extra: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(WEIGHTS, tmp_path / "a.safetensors")
    with path.open("ab") as file:
        file.write(b"\x07" * extra)
    with caplog.at_level(logging.WARNING):
        assert same(read_state_dict(path))
    assert f"{extra} bytes longer than its tensors" in caplog.text
    assert str(path) in caplog.text


@pytest.mark.parametrize("cut", [1, 100])
def test_a_cut_file_is_still_called_cut(cut: int, tmp_path: Path) -> None:
    path = save(WEIGHTS, tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(CorruptWeights, match="cut short"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "header",
    [
        b'{"conv.weight":{"dtype":"F32","shape":[8,8],"data_offsets":[0,16]}}',
        b'{"conv.weight":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}',
        b'{"conv.weight":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}',
        b'{"conv.weight":{"dtype":"F32","shape":[2],"data_offsets":["0","8"]}}',
        b'{"conv.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,-1]}}',
        b'{"conv.weight":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}',
        b'{"conv.weight":{"shape":[2]}}',
        b'{"conv.weight":7}',
        b'{"a":' * 50_000,
    ],
)
def test_headers_that_do_not_fit_are_no_longer_files(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(CorruptWeights, match="damaged"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("weights", "kind"),
    [
        ({"a.weight": torch.quantize_per_tensor(torch.rand(4, 4), 0.1, 0, torch.qint8)}, "qint8"),
        (
            {"a.kernel": torch.quantize_per_channel(torch.rand(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint8)},
            "qu",
        ),
        ({"a.weight": torch.zeros(4, 4, dtype=torch.int8), "a.scale": torch.ones(4)}, "int8"),
        ({"a.weight": torch.zeros(8, 1, dtype=torch.uint8), "a.weight.absmax": torch.ones(4)}, "uint8"),
        ({"a.qweight": torch.zeros(8, 1, dtype=torch.int32), "a.scales": torch.ones(4)}, "int32"),
        ({"a.bias": torch.zeros(8, dtype=torch.int32)}, "int32"),
        ({"a.table": torch.zeros(8, 8, dtype=torch.int8)}, "int8"),
        ({"a.weight": torch.zeros(4, 4).to(torch.float8_e4m3fn), "a.scale_weight": torch.ones(())}, "scaled fp8"),
        ({"a.weight": torch.zeros(4, 4).to(torch.float8_e4m3fn), "scaled_fp8": torch.ones(2)}, "scaled fp8"),
        ({"a.weight": torch.zeros(4, 4).to(torch.float8_e8m0fnu)}, "float8_e8m0fnu"),
    ],
)
def test_quantised_weights_are_refused(weights: Weights, kind: str, tmp_path: Path) -> None:
    path = save({**WEIGHTS, **weights}, tmp_path / "a.pth")
    with pytest.raises(UnsupportedWeights, match=f"quantised weights .*is {kind}.*fp16 or fp32"):
        read_state_dict(path)


def test_whole_numbers_that_count_or_index_stay(tmp_path: Path) -> None:
    buffers = {
        "norm.num_batches_tracked": torch.tensor(70_000),
        "attn.relative_position_index": torch.arange(16).reshape(4, 4),
        "attn.mask": torch.ones(4, 4, dtype=torch.bool),
        "shift": torch.tensor([1, 2], dtype=torch.uint8),
    }
    found = read_state_dict(save({**WEIGHTS, **buffers}, tmp_path / "a.pth"))
    assert all(found[name].dtype == buffers[name].dtype and found[name].equal(buffers[name]) for name in buffers)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_were_simply_cast_to_fp8(dtype: torch.dtype, suffix: str, tmp_path: Path) -> None:
    """They need no scale, so they are converted and used like any others."""
    weights = {name: value.to(dtype) for name, value in reference.rrdb_state_dict(blocks=1).items()}
    found = read_state_dict(save(weights, tmp_path / f"a{suffix}"))
    assert all(torch.equal(found[name], weights[name].float()) for name in weights)
    assert load_model(tmp_path / f"a{suffix}")(torch.rand(1, 3, 8, 8)).shape[1] == 3


@pytest.mark.parametrize("odd", [torch.rand(4, 4).to_sparse(), torch.empty(4, 4, device="meta")])
def test_tensors_without_plain_numbers_are_refused(odd: Tensor, tmp_path: Path) -> None:
    path = save({**WEIGHTS, "a.weight": odd}, tmp_path / "a.pth")
    with pytest.raises(UnsupportedWeights, match=r"a\.weight in a form without plain numbers"):
        read_state_dict(path)


@pytest.mark.parametrize(("suffix", "extra"), [(".pth", b""), (".safetensors", b""), (".safetensors", b"\0")])
def test_names_that_are_not_utf_8(suffix: str, extra: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"4x_\udcff\udcfe{suffix}"  # on Linux these are the bytes ff and fe
    save(WEIGHTS, tmp_path / f"a{suffix}").rename(path)
    with path.open("ab") as file:
        file.write(extra)
    assert same(read_state_dict(path))
    path.write_bytes(path.read_bytes()[:-90])
    with pytest.raises(CorruptWeights):
        read_state_dict(path)
