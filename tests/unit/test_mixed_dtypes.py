"""spandrel's networks that make fp32 tensors of their own, like masks of shifted windows: in half precision, torch's
autocast runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from apisr_pack.apisr_archs import UpscaleModel, load_model
from apisr_pack.tests import foreign
from apisr_pack.tests.reference import save

NAME = "SwinIR, windows of 7"


def adopted(folder: Path, precision: str) -> UpscaleModel:
    return load_model(save(foreign.network(NAME).state_dict(), folder / "a.pth"), precision)


def test_the_first_call_shows_that_autocast_is_needed(tmp_path: Path) -> None:
    """The later ones, one for each tile, must not fail once more before they succeed."""
    model, image, attempts = adopted(tmp_path, "bf16"), torch.rand(1, 3, 14, 14), []
    model.model.register_forward_pre_hook(lambda *_: attempts.append(1))
    assert not model.needs_autocast
    model(image)
    assert model.needs_autocast
    assert len(attempts) == 2
    model(image)
    assert len(attempts) == 3


def test_what_is_written_into_the_input_under_autocast_does_not_reach_the_picture(tmp_path: Path) -> None:
    """The picture has the network's dtype and needs no padding, so that nothing else copies it."""
    model, image = adopted(tmp_path, "bf16"), torch.rand(1, 3, 16, 21).bfloat16()
    model.model.register_forward_hook(lambda _, args, __: args[0].fill_(7))
    assert model.size_requirements.check(21, 16)
    kept = image.clone()
    for _ in range(2):
        model(image)
        assert torch.equal(image, kept)


def test_in_full_precision_mixed_dtypes_are_a_mistake(tmp_path: Path) -> None:
    """Autocast would not mend it: it is raised at once."""
    model, attempts = adopted(tmp_path, "fp32"), []

    def fails(*_: object) -> None:
        attempts.append(1)
        raise RuntimeError("expected m1 and m2 to have the same dtype")

    model.model.register_forward_pre_hook(fails)
    with pytest.raises(RuntimeError, match="same dtype"):
        model(torch.rand(1, 3, 14, 14))
    assert len(attempts) == 1
    assert not model.needs_autocast


def test_other_errors_in_half_precision_pass(tmp_path: Path) -> None:
    model, attempts = adopted(tmp_path, "bf16"), []

    def fails(*_: object) -> None:
        attempts.append(1)
        raise RuntimeError("a bug")

    model.model.register_forward_pre_hook(fails)
    with pytest.raises(RuntimeError, match="a bug"):
        model(torch.rand(1, 3, 14, 14))
    assert len(attempts) == 1
