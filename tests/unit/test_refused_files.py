"""Files that are not models, or not safe: each is refused with an error that says what to do, and runs no code."""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import CorruptWeights, MissingWeights, UnsafeWeights, UnsupportedWeights, load_model
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.apisr_archs.files.checkpoint import read_state_dict
from apisr_pack.tests import reference
from apisr_pack.tests.reference import save
from torch import Tensor

Weights = dict[str, Tensor]


class _RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def _lora() -> Weights:
    return {"lora_unet_down_blocks_0.lora_up.weight": torch.zeros(4, 4)}


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"no model file .*nowhere\.pth"):
        load_model(tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>Not Found</html>", "web page"),
        (b"<html><body>login</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "Git-LFS pointer"),
        (b"hello, I am a text file", "not a model file|no model file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a model file|no model file"),
        (bytes(1000), "no model file|not a model file"),
        (b"\x10\0\0\0\0\0\0\0{broken", "damaged or cut short"),
    ],
)
def test_impostors_are_named(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "4x_APISR_GRL_GAN_generator.pth"
    path.write_bytes(content)
    with pytest.raises(CorruptWeights, match=words) as caught:
        load_model(path)
    message = str(caught.value)
    assert str(path) in message
    known = zoo.find(path.name)
    assert known.sha256 in message
    assert known.urls[0] in message
    assert f"{len(content):,} bytes" in message


@pytest.mark.slow
def test_old_format_cut_anywhere(tmp_path: Path) -> None:
    """torch raises many kinds of errors for these; a truncated file is not called anything worse."""
    path = tmp_path / "a.pth"
    torch.save({"params": {"a": torch.rand(40), "b": torch.rand(3, 3)}}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for length in range(1, len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptWeights):
            read_state_dict(path)


def test_a_file_that_contains_itself(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["model"] = loop
    with pytest.raises(CorruptWeights, match="no named tensors"):
        read_state_dict(save(loop, tmp_path / "a.pth"))


@pytest.mark.parametrize(
    "weights",
    [
        {"body.0.weight": torch.zeros(1, 1, 3, 3), "body.99999999.weight": torch.zeros(1, 1, 3, 3)},
        {f"body.{i}.weight": torch.zeros(0, 0, 3, 3) for i in range(7)},
        {**reference.rrdb_state_dict(1), "conv_last.weight": torch.zeros(0, 64, 3, 3)},
        {**reference.rrdb_state_dict(1), "conv_first.weight": torch.zeros(64, 3)},
    ],
)
def test_weights_of_impossible_shapes(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedWeights, match="fit none"):
        load_model(save(weights, tmp_path / "a.pth"))


@pytest.mark.slow  # spandrel, which is tried next, takes long to refuse them
def test_windows_that_would_fill_the_memory(tmp_path: Path) -> None:
    _, weights = reference.with_weights(lambda: reference.dat("light", depth=[1]))
    grid = torch.meshgrid(torch.arange(-127, 128), torch.arange(-127, 128), indexing="ij")
    weights["layers.0.blocks.0.attn.attns.0.rpe_biases"] = torch.stack(grid, -1).flatten(0, 1).float()
    with pytest.raises(UnsupportedWeights):
        load_model(save(weights, tmp_path / "a.pth"))


@pytest.mark.parametrize("last", [(199, 199), (-1, 3), (float("inf"), 1), (float("nan"), 1)])
def test_windows_of_impossible_sizes(last: tuple[float, float], tmp_path: Path) -> None:
    _, weights = reference.with_weights(lambda: reference.dat("light", depth=[1]))
    weights["layers.0.blocks.0.attn.attns.0.rpe_biases"][-1] = torch.tensor(last)
    with pytest.raises(UnsupportedWeights):
        load_model(save(weights, tmp_path / "a.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0.001, 0.3, 0.99])
def test_truncated_files(suffix: str, keep: float, tmp_path: Path) -> None:
    path = save(reference.rrdb_state_dict(blocks=1), tmp_path / f"a{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(CorruptWeights, match=r"damaged|cut short|no model file"):
        load_model(path)


def test_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(CorruptWeights, match="no named tensors"):
        load_model(save({"epoch": 1, "note": "hi"}, tmp_path / "a.pth"))


@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_pickle_does_not_run(new_format: bool, tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "a.pth"
    torch.save({"params": _RunsCode(marker)}, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(UnsafeWeights, match="can run any code"):
        load_model(path)
    assert not marker.exists()


def test_code_beside_weights_in_the_old_format(tmp_path: Path) -> None:
    """128 numbers: their count looks like the beginning of a pickle."""
    marker, path = tmp_path / "ran", tmp_path / "a.pth"
    content = {"w": torch.zeros(128), "x": _RunsCode(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UnsafeWeights):
        load_model(path)
    assert not marker.exists()


def test_a_pickle_of_impossible_lengths(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"\x80\x02cos\nsystem\n\x8e" + (1 << 60).to_bytes(8, "little"))
    with pytest.raises((UnsafeWeights, CorruptWeights)):
        load_model(path)


def test_tar_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.pth"
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "storages")
    with pytest.raises(UnsafeWeights, match="tar file"):
        load_model(path)


def test_code_in_a_bare_pickle_does_not_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "a.pth"
    path.write_bytes(pickle.dumps(_RunsCode(marker)))
    with pytest.raises((UnsafeWeights, CorruptWeights)):
        load_model(path)
    assert not marker.exists()


def test_torchscript_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    assert any(name.endswith("constants.pkl") for name in zipfile.ZipFile(path).namelist())
    with pytest.raises(UnsafeWeights, match="TorchScript"):
        load_model(path)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (_lora(), "looks like a LoRA.*models/loras"),
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4)}, "models/checkpoints"),
        ({"some.weight": torch.zeros(4), "other.bias": torch.zeros(4)}, "2 weights .*fit none"),
    ],
)
def test_other_weights_are_refused(weights: Weights, words: str, tmp_path: Path) -> None:
    path = save(weights, tmp_path / "4x_APISR_GRL_GAN_generator.safetensors")
    with pytest.raises(UnsupportedWeights, match=words) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_almost_right_weights_are_refused(tmp_path: Path) -> None:
    _, weights = reference.ZOO["4x_APISR_GRL_GAN_generator"]()
    del weights["norm_end.bias"]
    with pytest.raises(UnsupportedWeights, match=r"norm_end\.bias|fit none"):
        load_model(save(weights, tmp_path / "a.pth"))


def test_fp16_where_it_cannot_be(tmp_path: Path) -> None:
    weights = reference.official_state_dict(reference.grl(window_size=16, stripe_size=[16, 32]))
    with pytest.raises(UnsupportedWeights, match="cannot run in fp16"):
        load_model(save(weights, tmp_path / "a.pth"), "fp16")
