"""Models that are not ours: spandrel's architectures through our loader, and other loaders' models in our engine."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import UnsupportedWeights, UpscaleModel, facts_of, is_misread_grl, load_model
from apisr_pack.apisr_archs.foreign import receptive_radius, windows
from apisr_pack.apisr_archs.networks.parts.padding import pad
from apisr_pack.apisr_archs.networks.registry import load_weights
from apisr_pack.engine import bytes_for, plan, prepare, upscale
from apisr_pack.tests import foreign, reference, trained
from apisr_pack.tests.reference import save
from apisr_pack.tests.standins import StandIn
from spandrel import MAIN_REGISTRY, ImageModelDescriptor, ModelTiling, SizeRequirements
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.GFPGAN import GFPGAN
from torch import Tensor, nn

QUICK = (
    *("CRAFT", "ESRGAN+ behind a pixel-unshuffle", "FDAT behind a pixel-unshuffle", "NAFNet", "RCAN"),
    *("RCAN behind a pixel-unshuffle", "SPAN", "SwinIR, windows of 7"),
)


def quickly(names: Iterable[str]) -> list[Any]:
    """All networks; the fast tests try only these."""
    quick = set(names)
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in foreign.NETWORKS]


ALL = quickly(QUICK)
SIZES = ((1, 1), (1, 40), (40, 1), (2, 2), (3, 50), (40, 5), (33, 47))
"""Shorter than the reflected padding, in one direction or both, and odd."""


def adopted(name: str, folder: Path, precision: str = "fp32") -> UpscaleModel:
    """The network through our loader."""
    return load_model(save(foreign.network(name).state_dict(), folder / "a.pth"), precision)


def expected_of(descriptor: ImageModelDescriptor[Any], image: Tensor) -> Tensor | None:
    """spandrel's result; None where it fails."""
    try:
        return descriptor(image.clone())
    except RuntimeError:
        return None


@pytest.mark.parametrize("name", ALL)
def test_every_size_gives_what_spandrel_gives_and_the_picture_is_kept(name: str, tmp_path: Path) -> None:
    """Through our loader, and through our engine with another loader's model."""
    model, descriptor = adopted(name, tmp_path), foreign.descriptor(name)
    assert model.architecture.id == descriptor.architecture.id
    for height, width in SIZES:
        image = torch.rand(1, 3, height, width)
        kept = image.clone()
        expected = expected_of(descriptor, image)
        by_engine = upscale(descriptor, image.movedim(1, -1)).movedim(-1, 1)
        for got in (model(image), model(image), by_engine):
            assert torch.equal(image, kept), f"{width}x{height}"
            assert got.shape == (1, 3, height * model.scale, width * model.scale)
            assert got.isfinite().all()
            assert expected is None or torch.equal(got, expected), f"{width}x{height}"
        assert expected is not None or name.endswith("behind a pixel-unshuffle"), "spandrel runs all the others"


@pytest.mark.parametrize("name", quickly(name for name in QUICK if name != "CRAFT"))
def test_every_architecture_runs_in_bf16(name: str, tmp_path: Path) -> None:
    """Also those that make fp32 tensors on the way, like the masks of shifted windows."""
    image = torch.rand(1, 3, 33, 47)
    expected = adopted(name, tmp_path)(image)
    model = adopted(name, tmp_path, "bf16")
    for got in (model(image), model(image)):
        assert got.dtype == torch.float32
        assert (got - expected).square().mean().sqrt() < 0.03
    assert {p.dtype for p in model.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ALL)
def test_tiles_follow_the_sizes_that_a_descriptor_asks_for(name: str) -> None:
    descriptor = foreign.descriptor(name)
    facts, required = facts_of(descriptor), descriptor.size_requirements
    assert facts.alignment % required.multiple_of == 0
    assert facts.minimum >= required.minimum
    assert all(facts.alignment % side == 0 for side in windows(descriptor))
    for height, width in ((1, 1), (31, 300), (300, 31), (130, 257)):
        right, bottom = required.get_padding(width, height)
        assert facts.padded(height, width) == (height + bottom, width + right) or facts.minimum > required.minimum
        assert bytes_for(height, width, facts, torch.float32) >= bytes_for(
            height + bottom, width + right, facts, torch.float32
        ), "what is padded takes memory too"
        tile = plan(height, width, facts, tile=1).tile
        assert all(a == b or a >= facts.minimum for a, b in zip(tile, (height, width), strict=True))


TAGS = {
    "s126w7": [7],
    "s64w16": [16],
    "w8": [8],
    "w32df4": [32],
    "s64x64": [64, 64],
    "4x16": [4, 16],
    "s64|8x32": [8, 32],
    "32w": [],  # NAFNet's width
    "64nf": [],
    "1x1x1b": [],
}


@pytest.mark.parametrize("tag", TAGS)
def test_windows_are_read_from_tags(tag: str) -> None:
    assert windows(SimpleNamespace(tags=[tag])) == TAGS[tag]
    assert windows(SimpleNamespace(tags=[tag, "2unshuf"])) == [2 * side for side in TAGS[tag]]


@pytest.mark.parametrize("tags", [None, [], ["a"], [3]])
def test_any_tags_do(tags: Any) -> None:
    assert facts_of(SimpleNamespace(scale=2, tags=tags)).alignment == 32


def test_an_unknown_model_s_requirements_are_taken() -> None:
    model = SimpleNamespace(scale=2, size_requirements=SizeRequirements(minimum=40, multiple_of=12, square=True))
    facts = facts_of(model)
    assert (facts.alignment, facts.padding, facts.minimum, facts.square) == (96, 12, 48, True)
    assert facts.padded(50, 13) == (60, 60)


@pytest.mark.parametrize("tiling", ModelTiling)
def test_a_model_that_makes_its_own_tiles_gets_whole_pictures(tiling: ModelTiling) -> None:
    """All others are tiled, even where tiling is discouraged."""
    facts = facts_of(SimpleNamespace(scale=2, tiling=tiling))
    assert facts.tiling == (tiling is not ModelTiling.INTERNAL)
    assert (len(plan(900, 900, facts, tile=300)) > 1) == facts.tiling


def difference(model: Any, images: Tensor, **how: Any) -> float:
    """Between tiles and the whole, in steps of 255."""
    return 255 * float((upscale(model, images, **how) - upscale(model, images)).abs().max())


NEAR = {
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 4, "upscale": 2},
    "SwiftSRGAN": {"num_channels": 4, "upscale_factor": 2},
    "DnCNN": {"in_nc": 3, "out_nc": 3, "nc": 4, "nb": 20},
}
"""Networks that look no further than the halo, in their published depths."""


def radius(network: nn.Module, scale: int) -> int:
    """How far a network looks, in input pixels: by the gradient of a pixel in the middle, whatever its code does."""
    image = torch.rand(1, 3, 91, 91, dtype=torch.float64).add_(1).requires_grad_()
    middle = 45 * scale
    network(image)[0, :, middle : middle + scale, middle : middle + scale].sum().backward()
    assert image.grad is not None
    _, _, rows, columns = image.grad.nonzero(as_tuple=True)
    return int(max((rows - 45).abs().max(), (columns - 45).abs().max()))


@pytest.mark.parametrize("name", NEAR)
def test_how_far_listed_networks_look(name: str) -> None:
    """Weights are positive and nothing saturates, so that no path through the network is lost."""
    module = getattr(importlib.import_module(f"spandrel.architectures.{name}"), name)(**NEAR[name]).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.rand_like(parameter).add_(0.5).div_(max(1, parameter[0].numel())))
        for parameter in list(module.parameters())[-2:]:  # of the last layer
            parameter.mul_(1e-8)
    descriptor = MAIN_REGISTRY.load(module.state_dict())
    assert isinstance(descriptor, ImageModelDescriptor)
    facts, counted = facts_of(descriptor), receptive_radius(descriptor)
    assert not facts.global_statistics
    assert counted is not None
    assert counted - 1 <= radius(descriptor.model.double().eval(), descriptor.scale) <= counted <= facts.halo.exact


@pytest.mark.parametrize("name", NEAR)
def test_tiles_of_listed_networks_equal_the_whole(name: str) -> None:
    assert difference(foreign.descriptor(name), torch.rand(1, 211, 190, 3), tile=150) <= 0.5


def test_networks_that_are_deeper_than_the_halo_are_not_listed() -> None:
    for name, scale, tag, is_near in (
        ("SwiftSRGAN", 2, "16nb", True),
        ("SwiftSRGAN", 2, "17nb", False),
        ("DnCNN", 1, "40nb", True),
        ("DnCNN", 1, "41nb", False),
        ("PLKSR", 2, "", False),
    ):
        model = SimpleNamespace(scale=scale, architecture=SimpleNamespace(id=name), tags=[tag])
        assert facts_of(model).global_statistics != is_near, name


def test_frames_of_listed_networks_are_computed_in_part() -> None:
    model, told = foreign.descriptor("SPAN"), []
    frames = torch.rand(1, 300, 40, 3).repeat(3, 1, 1, 1)
    frames[1, 150:153] = 0
    got = upscale(model, frames, tell=told.append)
    assert "2 computed in part" in "".join(told)
    assert 255 * float((got - upscale(model, frames, reuse_frames=False)).abs().max()) <= 0.5


@pytest.mark.parametrize(
    ("name", "side"), [("ESRGAN+ behind a pixel-unshuffle", 401), ("SwinIR, windows of 7", 211), ("SPAN", 211)]
)
@pytest.mark.parametrize("is_high", [True, False])
def test_tiles_of_other_loaders_models_equal_the_whole(name: str, side: int, is_high: bool) -> None:
    """At sizes that no window, no multiple and no tile divides."""
    descriptor, size = foreign.descriptor(name), (side, 31) if is_high else (31, side)
    assert len(plan(*size, facts_of(descriptor), tile=150)) > 1
    assert difference(descriptor, torch.rand(1, *size, 3), tile=150) <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "height", "tile"), [("exact", 321, 276), ("fast", 220, 178)])
def test_trained_weights_behind_a_pixel_unshuffle_through_another_loader(preset: str, height: int, tile: int) -> None:
    """The descriptor pads to multiples of 4: tiles must not be 2 pixels longer."""
    model = MAIN_REGISTRY.load(trained.rrdb_2x_state_dict())
    images = trained.crop(trained.art("bg_uni.jpg"), 100, 100, height, 91)
    assert len(plan(height, 91, facts_of(model), tile=tile, preset=preset)) > 1
    assert difference(model, images, preset=preset, tile=tile) <= (0.5 if preset == "exact" else 14)


@pytest.mark.parametrize(("size", "by"), list(product([(40, 5), (1, 7), (1, 1), (9, 9)], [(0, 11), (3, 0), (16, 16)])))
def test_padding_is_spandrel_s(size: tuple[int, int], by: tuple[int, int]) -> None:
    """Each axis on its own: reflected as far as possible, then repeated."""
    image = torch.rand(1, 3, *size)
    padded = pad(image, right=by[1], bottom=by[0])
    assert padded.shape[-2:] == (size[0] + by[0], size[1] + by[1])
    for axis, side in ((2, size[0]), (3, size[1])):
        there = range(padded.shape[axis])
        source = [i if i < side else 2 * side - 2 - i if i < 2 * side - 1 else 0 for i in there]
        image = image.index_select(axis, torch.tensor(source))
    assert torch.equal(padded, image)


# GRL of APISR's kind in other sizes: spandrel's code, but no shifted stripes


@pytest.mark.parametrize(
    "changes",
    [
        {"upsampler": "pixelshuffledirect"},
        {"upsampler": "pixelshuffle", "embed_dim": 128, "num_heads_window": [4], "num_heads_stripe": [4]},
        {"upsampler": "nearest+conv", "embed_dim": 32},
    ],
    ids=str,
)
def test_grl_of_apisr_s_kind_has_no_shifted_stripes(changes: dict[str, Any], tmp_path: Path) -> None:
    one = {"depths": [4], "num_heads_window": [2], "num_heads_stripe": [2]}
    module = reference.perturbed(reference.grl(**{**one, **changes}))
    path = save(reference.official_state_dict(module), tmp_path / "a.pth")
    model, image = load_model(path), torch.rand(1, 3, 24, 40)
    with torch.inference_mode():
        assert (model(image) - module(image).clamp(0, 1)).abs().max() <= 1e-5
    misread = MAIN_REGISTRY.load(reference.official_state_dict(module))
    assert is_misread_grl(misread)
    assert not is_misread_grl(model)
    assert (misread(image) - model(image)).abs().max() > 1e-3, "the shift should show"


@pytest.mark.parametrize("changes", [{"stripe_size": [8, 16]}, {"window_size": 16}], ids=str)
def test_other_grls_keep_their_shifted_stripes(changes: dict[str, Any], tmp_path: Path) -> None:
    """Their windows or their stripes are not 8x8."""
    small = {"embed_dim": 16, "depths": [4], "num_heads_window": [2], "num_heads_stripe": [2]}
    shifted, unshifted = (reference.grl(stripe_shift=shift, **small, **changes) for shift in (True, False))
    weights = reference.official_state_dict(reference.perturbed(shifted))
    unshifted.eval().load_state_dict(shifted.state_dict())
    model, image = load_model(save(weights, tmp_path / "a.pth")), torch.rand(1, 3, 32, 48)
    assert not is_misread_grl(MAIN_REGISTRY.load(dict(weights)))
    with torch.inference_mode():
        assert (model(image) - shifted(image).clamp(0, 1)).abs().max() <= 1e-5
        assert (model(image) - unshifted(image).clamp(0, 1)).abs().max() > 1e-3, "the shift should show"


# What is refused, when it loads


def test_models_for_faces_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in GFPGAN().state_dict().items()}
    path = save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, tmp_path / "GFPGAN.pth")
    with pytest.raises(UnsupportedWeights, match=r"GFPGAN.pth is GFPGAN, which restores a single face"):
        load_model(path)


@pytest.mark.parametrize(("into", "out"), [(4, 4), (1, 3), (4, 3)])
@pytest.mark.parametrize("plus", [False, True])
def test_channels_that_are_neither_grey_nor_rgb_are_refused(into: int, out: int, plus: bool, tmp_path: Path) -> None:
    network = ESRGAN(in_nc=into, out_nc=out, num_blocks=1, num_filters=8, plus=plus)
    path = save(network.state_dict(), tmp_path / "a.pth")
    with pytest.raises(UnsupportedWeights, match=f"turns {into} channels into {out}; expected 3"):
        load_model(path)


def test_a_precision_that_does_not_work_is_answered_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedWeights, match=r"RCAN cannot run in fp16\. Use fp32 or bf16\."):
        adopted("RCAN", tmp_path, "fp16")


@pytest.mark.parametrize(
    ("name", "tile", "is_said"),
    [
        *(("MoSR", 200, True), ("MoSR", None, False), ("ESRGAN+ behind a pixel-unshuffle", 250, False)),
        *((name, 200, False) for name in NEAR),
    ],
)
def test_tiles_of_what_may_see_the_whole_picture_are_said_to_be_so(name: str, tile: int | None, is_said: bool) -> None:
    told: list[str] = []
    model = foreign.descriptor(name)
    assert (len(plan(300, 20, facts_of(model), tile=tile)) > 1) == bool(tile)
    upscale(model, torch.rand(1, 300, 20, 3), tile=tile, tell=told.append)
    assert any("may look at the whole picture" in line for line in told) == is_said


@pytest.mark.parametrize(
    ("enlarges", "says"),
    [(3, r"made \(60, 60\) pixels of a tile; expected \(40, 40\)"), (1, r"made \(20, 20\) pixels")],
)
def test_a_model_that_is_wrong_about_its_scale_is_told_so(enlarges: int, says: str) -> None:
    """Cutting off the rest would leave only the top left corner of the picture."""
    model = StandIn(lambda image: image.repeat_interleave(enlarges, 2).repeat_interleave(enlarges, 3))
    with pytest.raises(ValueError, match=says):
        upscale(model, torch.rand(1, 20, 20, 3))


@pytest.mark.parametrize("answer", [None, [1], "picture"])
def test_a_model_that_gives_no_picture_is_told_so(answer: Any) -> None:
    model: Any = StandIn(lambda _: answer)
    with pytest.raises(ValueError, match=f"gave a {type(answer).__name__} instead of a picture"):
        upscale(model, torch.rand(1, 20, 20, 3))


def test_dat_in_tiles_without_means_is_said_to_be_so() -> None:
    """Preset fast gathers no means."""
    job = prepare(load_weights(reference.with_weights(lambda: reference.dat("light", depth=[1]))[1]), (1, 600, 600, 3))
    for preset, is_said in (("fast", True), ("exact", False)):
        limited = replace(job, limits=replace(job.limits, tile=64, preset=preset))
        caution = limited.caution(limited.plans())
        assert ("may look at the whole picture" in (caution or "")) == is_said
