"""Each network computes what its reference computes: spandrel's modules on the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from apisr_pack.apisr_archs.networks import dat_attention
from apisr_pack.apisr_archs.networks.parts import windows
from apisr_pack.apisr_archs.networks.registry import load_weights
from apisr_pack.tests import reference, trained
from spandrel import MAIN_REGISTRY
from torch import Tensor, nn

SIZES = [(64, 64), (67, 53), (40, 72), (64, 96), (16, 16), (5, 7), (1, 1)]
SMALL_SIZES = [(24, 40), (17, 9), (3, 21), (8, 5)]
"""The last two have fewer rows than windows are shifted by."""
FP16_SIZES = [(16, 24), (5, 7), (1, 1)]
"""torch computes fp16 convolutions on a CPU a hundred times slower than fp32 ones."""
WINDOWED = ("4x_APISR_GRL_GAN_generator", "4x_APISR_DAT_GAN_generator")
REFERENCE_CANNOT = {("2x_APISR_RRDB_GAN_generator", (1, 1))}
"""It reflects by one pixel, and there is no other pixel."""

VARIANTS = {
    **reference.ZOO,
    "RRDB 4x, 23 blocks": lambda: reference.rrdb(blocks=23),
    "RRDB 4x, 1 block": lambda: reference.rrdb(blocks=1),
    "RRDB 1x": lambda: reference.rrdb(in_channels=48, blocks=2),
    "DAT-light 4x": lambda: reference.with_weights(lambda: reference.dat("light", depth=[6])),
    "DAT-light 3x": lambda: reference.with_weights(lambda: reference.dat("light", depth=[2], upscale=3)),
    "DAT 2x, pixelshuffle": lambda: reference.with_weights(lambda: reference.dat(**_SHORT, upscale=2)),
    "DAT 3x, pixelshuffle": lambda: reference.with_weights(lambda: reference.dat(**_SHORT, upscale=3)),
    "DAT 4x, pixelshuffle, wide windows": lambda: reference.with_weights(
        lambda: reference.dat(**{**_SHORT, "split_size": [8, 32], "expansion_factor": 4})
    ),
    "DAT without qkv bias": lambda: reference.with_weights(lambda: reference.dat(**_SHORT, qkv_bias=False)),
    "Compact 2x": lambda: reference.with_weights(lambda: reference.compact(upscale=2, num_conv=8, num_feat=24)),
    "Compact 1x": lambda: reference.with_weights(lambda: reference.compact(upscale=1)),
}
_SHORT = {"depth": [3, 3], "num_heads": [6, 6], "upsampler": "pixelshuffle"}
"""Two groups of three blocks hold every kind of DAT block: even and odd groups shift their windows differently."""


def ours(weights: dict[str, Tensor]) -> nn.Module:
    model = load_weights(dict(weights))
    assert model.architecture.id.startswith("APISR-"), "loaded by spandrel, not by us"
    return model.model


def difference(got: Tensor, expected: Tensor) -> float:
    """Largest difference, in parts of the output's range."""
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / (expected.max() - expected.min()).clamp_min(1e-6))


def run(network: nn.Module, image: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(image)


@pytest.mark.slow
@pytest.mark.parametrize("name", reference.ZOO)
def test_zoo_networks_equal_their_reference_at_every_size(name: str) -> None:
    theirs, weights = reference.ZOO[name]()
    network = ours(weights)
    for size in SIZES:
        batch = torch.rand(2, 3, *size)
        got, alone = run(network, batch), run(network, batch[:1])
        if (name, size) in REFERENCE_CANNOT:
            with pytest.raises(RuntimeError):
                run(theirs, batch)
            continue
        expected = run(theirs, batch)
        assert difference(got, expected) <= 1e-5, size
        assert difference(alone, expected[:1]) <= 1e-5, size


SLOW_VARIANTS = (
    *("4x_APISR_DAT_GAN_generator", "RRDB 4x, 23 blocks"),  # large
    *(
        "DAT 2x, pixelshuffle",
        "DAT 3x, pixelshuffle",
        "DAT 4x, pixelshuffle, wide windows",
        "DAT without qkv bias",
    ),  # the others, or test_strips.py, cover all that they have
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW_VARIANTS else name for name in VARIANTS]
)
def test_every_variant_equals_its_reference(name: str) -> None:
    theirs, weights = VARIANTS[name]()
    network = ours(weights)
    for size in SMALL_SIZES:
        image = torch.rand(1, 3, *size)
        assert difference(run(network, image), run(theirs, image)) <= 1e-5, size


def test_stripes_of_grl_do_not_shift() -> None:
    """The error that other loaders make is far above the tolerance of these tests."""
    _, weights = reference.ZOO["4x_APISR_GRL_GAN_generator"]()
    shifting = reference.grl(stripe_shift=True).eval()
    shifting.load_state_dict({key: v for key, v in weights.items() if key not in reference.GRL_BUFFERS})
    image = torch.rand(1, 3, 24, 40)
    assert difference(run(ours(weights), image), run(shifting, image)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", reference.ZOO)
def test_bf16_at_every_size(name: str) -> None:
    check_half(name, SIZES, torch.bfloat16, tolerance=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", reference.ZOO)
def test_fp16_at_every_kind_of_size(name: str) -> None:
    check_half(
        name,
        [*FP16_SIZES, (16, 16), (40, 72), (67, 53)] if name in WINDOWED else FP16_SIZES,
        torch.float16,
        tolerance=0.01,
    )


def check_half(name: str, sizes: list[tuple[int, int]], dtype: torch.dtype, tolerance: float) -> None:
    theirs, weights = reference.ZOO[name]()
    network = ours(weights).to(dtype)
    for size in sizes:
        image = torch.rand(1, 3, *size)
        got = run(network, image.to(dtype))
        assert got.dtype == dtype
        assert got.isfinite().all()
        if (name, size) not in REFERENCE_CANNOT:
            expected = run(theirs, image)
            assert (got.float() - expected).norm() <= tolerance * expected.norm(), size


def test_fp16_attention_between_channels_that_are_empty() -> None:
    """The norm of a channel of zeros must not become an infinite factor."""
    _, weights = reference.with_weights(lambda: reference.dat("light", depth=[2]))
    for part in ("weight", "bias"):
        weights[f"layers.0.blocks.1.attn.qkv.{part}"][:5] = 0
    image = torch.rand(1, 3, 8, 8)
    assert run(ours(weights).half(), image.half()).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["realesrgan-x4plus-anime", "realesrgan-x4plus", "realesr-animevideov3"])
def test_trained_weights_equal_their_reference_on_art(name: str) -> None:
    weights = trained.trained_state_dict(name)
    _compare_on_art(MAIN_REGISTRY.load(dict(weights)).model.eval(), ours(weights))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_trained_dat_light_equals_its_reference_on_art(scale: int) -> None:
    weights = torch.load(trained.dat_light_path(scale), weights_only=True)["params"]
    _compare_on_art(MAIN_REGISTRY.load(dict(weights)).model.eval(), ours(weights))


def _compare_on_art(theirs: nn.Module, network: nn.Module) -> None:
    picture = trained.art("demo.png")[:, 110:163, 160:225, :3]  # an odd size, on the face
    image = picture.permute(0, 3, 1, 2).contiguous()
    expected = run(theirs, image)
    assert expected.std() > 0.1, "the crop should show something"
    assert difference(run(network, image), expected) <= 1e-5


def test_derived_state_follows_the_weights_and_the_device() -> None:
    """Biases are worked out again whenever weights are loaded, and are buffers that `.to` moves."""
    first = reference.ZOO["4x_APISR_GRL_GAN_generator"]()[1]
    network = ours(first)
    torch.manual_seed(5)
    other = reference.perturbed(reference.grl(), seed=5)
    network.load_state_dict(other.state_dict())
    image = torch.rand(1, 3, 24, 24)
    assert difference(run(network, image), run(other, image)) <= 1e-5
    buffers = dict(network.named_buffers())
    assert any(name.endswith("window_attn.attn_transform.bias") for name in buffers)
    assert not set(buffers) & set(network.state_dict()), "derived buffers are not saved"
    network.to("meta")
    assert all(buffer.is_meta for buffer in network.buffers())


def test_more_windows_than_attention_takes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some versions of torch refuse more than 65535 on CUDA."""
    q, k, v = (torch.rand(2, 3, 5, 2, 4, 8) for _ in range(3))
    bias = torch.rand(4, 2, 4, 4)
    at_once = windows.attend(q, k, v, bias, scale=0.5)
    attention, taken = F.scaled_dot_product_attention, []

    def recorded(query: Tensor, *others: Tensor, **how: Any) -> Tensor:
        taken.append(len(query))
        return attention(query, *others, **how)

    monkeypatch.setattr(windows, "MOST_WINDOWS", 7)
    monkeypatch.setattr(F, "scaled_dot_product_attention", recorded)
    assert torch.allclose(windows.attend(q, k, v, bias, scale=0.5), at_once, atol=1e-6)
    assert max(taken) == 7


@pytest.mark.parametrize("pixels", [1, 7, 255, 256, 3001])
@pytest.mark.parametrize("pieces", [1, 3, 256])
def test_gram_matrices_in_pieces(pixels: int, pieces: int) -> None:
    q, k = torch.randn(2, pixels, 12, dtype=torch.float64).unflatten(-1, (2, 2, 3)).unbind(2)
    wanted = torch.einsum("bnhi,bnhj->bhij", q, k)
    assert (dat_attention.gram_matrices(q, k, pieces) - wanted).abs().max() < 1e-5 * pixels
