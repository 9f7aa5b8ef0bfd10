"""Each network computes what its reference computes: spandrel's modules on the same weights."""

from __future__ import annotations

import pytest
import torch
from apisr_pack.apisr_archs.registry import registry
from apisr_pack.tests import reference, trained
from spandrel import MAIN_REGISTRY
from torch import Tensor, nn

SIZES = [(64, 64, 1), (67, 53, 3), (40, 72, 3), (128, 96, 1), (16, 16, 3), (5, 7, 3), (1, 1, 3)]
"""Height, width and batch. Batches are compared whole, and their first picture once more alone."""
SMALL_SIZES = [(24, 40), (17, 9)]
HALF_SIZES = [(12, 20), (8, 8), (5, 7), (1, 1)]
"""torch computes fp16 convolutions on a CPU a hundred times slower than fp32 ones."""

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
    model = registry().load(dict(weights))
    assert model.architecture.id.startswith("APISR-"), "loaded by spandrel, not by us"
    return model.model


def difference(got: Tensor, expected: Tensor) -> float:
    """Largest difference, in parts of the output's range."""
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / (expected.max() - expected.min()).clamp_min(1e-6))


def run(network: nn.Module, image: Tensor) -> Tensor | None:
    """The network's output, or None where it cannot do that size (the reference has some)."""
    with torch.inference_mode():
        try:
            return network(image)
        except (RuntimeError, AssertionError):
            return None


@pytest.mark.slow
@pytest.mark.parametrize("name", reference.ZOO)
def test_zoo_networks_equal_their_reference_at_every_size(name: str) -> None:
    theirs, weights = reference.ZOO[name]()
    network = ours(weights)
    compared = 0
    for height, width, batch in SIZES:
        image = torch.rand(batch, 3, height, width)
        expected = run(theirs, image)
        got, alone = run(network, image), run(network, image[:1])
        assert got is not None, f"{height}x{width} cannot be run"
        assert alone is not None
        if expected is not None:
            assert difference(got, expected) <= 1e-5, (height, width)
            assert difference(alone, expected[:1]) <= 1e-5, (height, width)
            compared += 1
    # RRDB 2x: the reference reflects by one pixel and cannot at 1x1
    assert compared >= len(SIZES) - 1


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_equals_its_reference(name: str) -> None:
    theirs, weights = VARIANTS[name]()
    network = ours(weights)
    for size in SMALL_SIZES:
        image = torch.rand(1, 3, *size)
        expected = run(theirs, image)
        assert expected is not None
        assert difference(run(network, image), expected) <= 1e-5, size


def test_stripes_of_grl_do_not_shift() -> None:
    """The mistake that other loaders make is far above the tolerance of these tests."""
    _, weights = reference.ZOO["4x_APISR_GRL_GAN_generator"]()
    shifting = reference.grl(stripe_shift=True).eval()
    shifting.load_state_dict({key: v for key, v in weights.items() if key not in reference.GRL_BUFFERS})
    image = torch.rand(1, 3, 40, 72)
    assert difference(run(ours(weights), image), run(shifting, image)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("name", reference.ZOO)
def test_half_precision_at_every_size(name: str, dtype: torch.dtype, tolerance: float) -> None:
    theirs, weights = reference.ZOO[name]()
    network = ours(weights).to(dtype)
    for size in HALF_SIZES:
        image = torch.rand(1, 3, *size)
        got = run(network, image.to(dtype))
        assert got is not None, size
        assert got.dtype == dtype
        assert got.isfinite().all()
        expected = run(theirs, image)
        if expected is not None:
            error = (got.float() - expected).norm() / (expected - expected.mean()).norm().clamp_min(
                expected.norm() / 10
            )
            assert error <= tolerance, (size, float(error))


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
