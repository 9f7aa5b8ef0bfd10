"""From files of every known form to the right network; from files of no known form to a useful error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import CorruptWeights, UpscaleModel, facts_of, is_misread_grl, load_model
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.apisr_archs.files.checkpoint import read_state_dict, strip_prefixes, unwrap
from apisr_pack.apisr_archs.networks.registry import load_weights
from apisr_pack.engine import upscale
from apisr_pack.tests import foreign, reference, trained
from apisr_pack.tests.reference import save
from spandrel import MAIN_REGISTRY, ImageModelDescriptor
from spandrel.architectures.ESRGAN import ESRGAN
from torch import Tensor

Weights = dict[str, Tensor]

RAW_TRAINING = {"iteration": 5, "optimizer_state_dict": {"state": {}}, "lowest_generator_weight": 0.1, "opt": {"a": 1}}

FORMS: dict[str, Callable[[Weights], Any]] = {
    "official": lambda w: {"model_state_dict": w},
    "raw training file": lambda w: {**RAW_TRAINING, "model_state_dict": w},
    "params_ema": lambda w: {"params_ema": w},
    "params_ema before params": lambda w: {"params": {k: v + 1 for k, v in w.items()}, "params_ema": w},
    "params": lambda w: {"params": w},
    "state_dict": lambda w: {"state_dict": w, "epoch": 3},
    "flat": lambda w: w,
    "module.": lambda w: {f"module.{k}": v for k, v in w.items()},
    "_orig_mod.": lambda w: {"model_state_dict": {f"_orig_mod.{k}": v for k, v in w.items()}},
    "module._orig_mod.": lambda w: {f"module._orig_mod.{k}": v for k, v in w.items()},
    "_orig_mod.module.": lambda w: {"params": {f"_orig_mod.module.{k}": v for k, v in w.items()}},
}


def derived(name: str) -> bool:
    """A buffer that some files have and others lack."""
    last = name.rsplit(".", 1)[-1]
    return (
        name in reference.GRL_BUFFERS
        or last in ("rpe_biases", "relative_position_index", "num_batches_tracked")
        or (last.startswith("attn_mask_"))
    )


def without_derived(weights: Weights) -> Weights:
    return {key: value for key, value in weights.items() if not derived(key)}


GRL, DAT, COMPACT = "4x_APISR_GRL_GAN_generator", "4x_APISR_DAT_GAN_generator", "realesr-animevideov3"
ZOO_ROWS = [pytest.param(name, marks=pytest.mark.slow) if name == DAT else name for name in reference.ZOO]
"""DAT's files are large, so they are slow."""


@pytest.fixture(scope="module", params=ZOO_ROWS)
def zoo_row(request: pytest.FixtureRequest) -> tuple[str, Weights, Tensor, Tensor]:
    """Name, weights in the official format, an image and the reference's output for it."""
    theirs, weights = reference.ZOO[request.param]()
    image = torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        return request.param, weights, image, theirs(image).clamp(0, 1)


def check(model: UpscaleModel, row: tuple[str, Weights, Tensor, Tensor]) -> None:
    name, _, image, expected = row
    assert isinstance(model, ImageModelDescriptor)
    known = zoo.find(f"{name}.pth")
    assert sum(p.numel() for p in model.model.parameters()) == known.parameters
    assert model.scale == known.scale == model.facts.scale
    assert model.architecture.name == known.architecture
    assert (model(image) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("zoo_row", "form"),
    [
        # how names are read does not depend on the network: every form of the smallest, one form of the others
        pytest.param(
            name, form, marks=() if name == COMPACT or (form == "official" and name != DAT) else pytest.mark.slow
        )
        for name in reference.ZOO
        for form in FORMS
    ],
    indirect=["zoo_row"],
)
def test_every_wrapper_and_prefix(zoo_row: Any, form: str, tmp_path: Path) -> None:
    path = save(FORMS[form](zoo_row[1]), tmp_path / "renamed by the user.pth")
    check(load_model(path), zoo_row)


@pytest.mark.parametrize(
    ("zoo_row", "buffers"),
    [
        (GRL, True),
        (GRL, False),
        *(pytest.param(DAT, buffers, marks=pytest.mark.slow) for buffers in (True, False)),
        *((name, True) for name in reference.ZOO if name not in (GRL, DAT)),  # the others have none
    ],
    indirect=["zoo_row"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_with_and_without_derived_buffers(zoo_row: Any, suffix: str, buffers: bool, tmp_path: Path) -> None:
    weights = zoo_row[1] if buffers else without_derived(zoo_row[1])
    check(load_model(save(weights, tmp_path / f"a{suffix}")), zoo_row)


def test_format_is_told_by_content_not_by_name(zoo_row: Any, tmp_path: Path) -> None:
    safetensors = save(without_derived(zoo_row[1]), tmp_path / "a.safetensors")
    check(load_model(safetensors.rename(tmp_path / "a.pth")), zoo_row)


def test_counters_stay_whole_numbers(tmp_path: Path) -> None:
    number = torch.tensor(70_000)  # infinite in fp16
    weights = reference.with_weights(lambda: reference.dat(depth=[2], num_heads=[6]))[1]
    for name in weights:
        if name.endswith("num_batches_tracked"):
            weights[name] = number
    model = load_model(save(weights, tmp_path / "a.pth"), precision="fp16")
    kept = {name: value for name, value in model.model.state_dict().items() if name.endswith("num_batches_tracked")}
    assert kept
    assert all(torch.equal(value, number) and value.dtype == number.dtype for value in kept.values())


def test_old_torch_format_and_half_weights(tmp_path: Path) -> None:
    theirs, weights = reference.ZOO["realesr-animevideov3"]()
    half = {key: value.half() for key, value in weights.items()}
    torch.save(half, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    image = torch.rand(1, 3, 9, 9)
    with torch.inference_mode():
        assert (load_model(tmp_path / "old.pth")(image) - theirs(image).clamp(0, 1)).abs().max() < 0.01


def test_loaded_weights_do_not_depend_on_the_file_any_more(tmp_path: Path) -> None:
    _, weights = reference.ZOO["realesr-animevideov3"]()
    path = save(weights, tmp_path / "a.pth")
    model = load_model(path)
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    path.write_bytes(b"\0" * path.stat().st_size)
    assert all(torch.equal(value, before[key]) for key, value in model.model.state_dict().items())


def test_a_loaded_network_takes_other_weights_as_torch_s_do(tmp_path: Path) -> None:
    _, weights = reference.ZOO["realesr-animevideov3"]()
    network = load_model(save(weights, tmp_path / "a.pth")).model
    held = dict(network.named_parameters())
    others = {key: value + 1 for key, value in weights.items()}
    network.load_state_dict(others)
    assert all(value is held[key] for key, value in network.named_parameters())
    assert all(torch.equal(held[key], others[key]) and held[key] is not others[key] for key in held)


def test_spandrel_loads_the_rest(tmp_path: Path) -> None:
    """ESRGAN+ has skips that RRDB has not; spandrel knows it. Its facts come from its tags."""
    plus = ESRGAN(plus=True, in_nc=12, shuffle_factor=2, num_blocks=2)
    theirs = MAIN_REGISTRY.load(plus.state_dict())
    path = save(dict(theirs.model.state_dict()), tmp_path / "old_names.pth")
    model = load_model(path, "fp16")
    assert isinstance(model, UpscaleModel)
    assert model.architecture.id == "ESRGAN"
    ours = load_model(save(reference.rrdb_state_dict(2, 12), tmp_path / "new_names.pth")).facts
    assert (model.facts.halo, model.facts.scale) == (ours.halo, ours.scale)
    assert model.facts.alignment == 4, "the descriptor pads to that"
    assert model.facts.strips is None, "it is not our code"
    assert model.facts.bytes_per_pixel[torch.float16] > ours.bytes_per_pixel[torch.float16]
    image = torch.rand(1, 3, 12, 20)  # core nodes call with fp32 for any dtype of the weights
    assert model(image).dtype == torch.float32
    assert (model(image) - theirs(image)).abs().max() < 0.02


def test_spandrel_s_registry_is_left_alone() -> None:
    before = [support.architecture.id for support in MAIN_REGISTRY]
    assert load_weights(reference.rrdb_state_dict(1)).architecture.id == "APISR-RRDB"
    assert [support.architecture.id for support in MAIN_REGISTRY] == before


@pytest.mark.parametrize(("scale", "in_channels"), [(1, 3), (2, 3), (4, 3), (8, 3), (4, 12), (4, 48)])
def test_other_rrdbs_run_at_their_own_scale(scale: int, in_channels: int, tmp_path: Path) -> None:
    """spandrel knows RRDBs of every scale; the last two sit behind a pixel-unshuffle."""
    module = ESRGAN(scale=scale, num_blocks=1, in_nc=in_channels, shuffle_factor={12: 2, 48: 4}.get(in_channels)).eval()
    model = load_model(save(module.state_dict(), tmp_path / "a.pth"))
    image = torch.rand(1, 3, 20, 28)
    with torch.inference_mode():
        expected = module(image).clamp(0, 1)
    for candidate in (model, MAIN_REGISTRY.load(module.state_dict())):
        assert facts_of(candidate).scale == candidate.scale == expected.shape[-1] // 28
        got = upscale(candidate, image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        assert got.shape == expected.shape
        assert (got - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", reference.ZOO)
def test_facts_of_spandrel_s_own_are_those_of_ours(name: str) -> None:
    short_dat = {"depth": [2], "num_heads": [6]}  # its facts do not depend on the depth
    _, weights = reference.with_weights(lambda: reference.dat(**short_dat)) if name == DAT else reference.ZOO[name]()
    ours, theirs = facts_of(load_weights(dict(weights))), facts_of(MAIN_REGISTRY.load(dict(weights)))
    assert theirs.scale == ours.scale
    assert theirs.alignment % ours.alignment == 0
    assert theirs.halo.exact >= ours.halo.exact
    assert theirs.global_statistics >= ours.global_statistics, "of an unknown network the worst is assumed"
    assert theirs.strips is None, "it is not our code"
    assert theirs.bytes_per_pixel[torch.float32] > ours.bytes_per_pixel[torch.float32]


def test_models_can_be_copied(tmp_path: Path) -> None:
    """Some packs copy them; the copy must run its own network."""
    old = MAIN_REGISTRY.load(reference.rrdb_state_dict(blocks=1)).model.state_dict()
    image = torch.rand(1, 3, 8, 8)
    for path in (
        save(dict(old), tmp_path / "spandrels.pth"),
        save(reference.rrdb_state_dict(1), tmp_path / "ours.pth"),
    ):
        model = load_model(path)
        copied = copy.deepcopy(model)
        before = model(image)
        for parameter in copied.model.parameters():
            parameter.zero_()
        assert copied(image).abs().max() == 0
        assert torch.equal(model(image), before)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_weights_made_in_inference_mode_can_be_used_outside(precision: str) -> None:
    with torch.inference_mode():  # as ComfyUI runs nodes
        model = load_model(trained.ROOT / "models" / "realesr-animevideov3.safetensors", precision)
    assert not any(tensor.is_inference() for tensor in (*model.model.parameters(), *model.model.buffers()))


def test_what_overflows_in_fp16_is_computed_in_fp32(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    weights = reference.rrdb_state_dict(blocks=1)
    weights["conv_hr.weight"][0] = 6e4  # a channel that overflows in fp16, and that nothing reads
    weights["conv_last.weight"][:, 0] = 0
    path = save(weights, tmp_path / "a.pth")
    image = torch.rand(1, 3, 8, 8)
    expected = load_model(path)(image)
    model = load_model(path, "fp16")
    assert not model.model(image.half()).isfinite().all(), "the weights should overflow"
    assert (model(image) - expected).abs().max() <= 0.01
    assert model.dtype == torch.float16
    assert "computed again in fp32" in caplog.text


def test_running_out_of_memory_in_fp32_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    weights = reference.rrdb_state_dict(blocks=1)
    weights["conv_hr.weight"][0] = 6e4
    weights["conv_last.weight"][:, 0] = 0
    model = load_model(save(weights, tmp_path / "a.pth"), "fp16")

    def runs_out(_: Any, args: tuple[Tensor, ...]) -> None:
        if args[0].dtype == torch.float32:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    model.model.conv_hr.register_forward_pre_hook(runs_out)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        model(torch.rand(1, 3, 8, 8))
    after = model.model.state_dict()
    assert all(after[key].dtype == torch.float16 and torch.equal(after[key], before[key]) for key in before)


def test_damaged_weights_are_noticed(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Where they became so after they were loaded."""
    model = load_model(save(reference.rrdb_state_dict(blocks=1), tmp_path / "a.pth"))
    model.model.conv_last.bias[0] = float("nan")
    model(torch.rand(1, 3, 4, 4))
    assert "may be damaged" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", ["ours", "spandrel's"])
def test_weights_that_are_no_numbers_are_refused(kind: str, value: float, tmp_path: Path) -> None:
    weights = dict(foreign.network("SPAN").state_dict()) if kind != "ours" else reference.rrdb_state_dict(blocks=1)
    name = "conv_last.bias" if kind == "ours" else "conv_cat.weight"
    weights[name].view(-1)[1] = value
    with pytest.raises(CorruptWeights, match=rf"a\.pth holds weights that are not numbers or infinite .*in {name}\."):
        load_model(save(weights, tmp_path / "a.pth"))


def test_apisr_s_grl_through_another_loader_is_noticed() -> None:
    _, weights = reference.ZOO["4x_APISR_GRL_GAN_generator"]()
    assert is_misread_grl(MAIN_REGISTRY.load(dict(weights)))
    assert not is_misread_grl(load_weights(dict(weights)))
    other = reference.official_state_dict(reference.grl(window_size=16, stripe_size=[16, 32]))
    assert not is_misread_grl(MAIN_REGISTRY.load(other))
    assert not is_misread_grl(object())


def test_another_grl_is_not_taken_for_apisr_s() -> None:
    """Larger windows, seen from the buffers: left to spandrel."""
    weights = reference.official_state_dict(reference.grl(window_size=16, stripe_size=[16, 32]))
    assert load_weights(weights).architecture.id == "GRL"


def test_precision_and_plain_calls() -> None:
    path = trained.ROOT / "models" / "realesr-animevideov3.safetensors"
    image = torch.rand(2, 3, 8, 8)
    expected = load_model(path)(image)
    for precision, tolerance in (("fp16", 0.01), ("bf16", 0.05)):
        model = load_model(path, precision)
        assert model(image).dtype == torch.float32
        assert (model(image) - expected).abs().max() < tolerance
        assert (model.float()(image) - expected).abs().max() < tolerance
    with pytest.raises(ValueError, match="fp8"):
        load_model(path, "fp8")


def test_facts_of_a_stranger() -> None:
    class Bare:
        scale = 3

    facts = facts_of(Bare())
    assert facts.scale == 3
    assert facts.tiling
    assert facts.alignment % 8 == 0


def test_unwrap_and_strip() -> None:
    tensor = torch.zeros(1)
    assert unwrap({"state_dict": {"params": {"a": tensor}}}) == {"a": tensor}
    assert unwrap({"a": tensor, "epoch": 3}) == {"a": tensor}
    assert unwrap([tensor]) == {}
    assert list(strip_prefixes({"module._orig_mod.module.a": tensor})) == ["a"]
    assert set(strip_prefixes({"module.a": tensor, "b": tensor})) == {"module.a", "b"}
    assert strip_prefixes({}) == {}


def test_tensors_only(tmp_path: Path) -> None:
    path = save({"model_state_dict": {"a": torch.zeros(1), "n": 3}}, tmp_path / "a.pth")
    assert set(read_state_dict(path)) == {"a"}
