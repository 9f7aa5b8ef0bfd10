"""GRL at the limits of its attention: the sharpest allowed, and attention to zeros."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from apisr_pack.tests import tiny


def test_attention_is_no_sharper_than_a_factor_of_100(tmp_path: Path) -> None:
    """Trained networks of this kind (Swin v2) learn larger factors, and are trained with this limit."""
    model, theirs = tiny.one_block_grl(tmp_path)
    image = torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        before = theirs(image)
        for network in (model.model, theirs):
            for name, weight in network.named_parameters():
                if name.endswith("logit_scale"):
                    weight.fill_(math.log(100) + 2)
        expected = theirs(image)
        assert (expected - before).abs().max() > 0.01
        assert (model.model(image) - expected).abs().max() <= 1e-4


def test_attention_to_nothing_in_half_precision(tmp_path: Path) -> None:
    """Vectors of zeros have no direction; dividing them by their length would give NaN."""
    model, theirs = tiny.one_block_grl(tmp_path)
    image = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        for network in (model.model, theirs):
            for name, weight in network.named_parameters():
                if "qkv" in name:
                    weight.zero_()
        expected = theirs(image)
        got = model.model.half()(image.half()).float()
    assert got.isfinite().all()
    assert (got - expected).abs().max() <= 0.01 * (expected.max() - expected.min())
