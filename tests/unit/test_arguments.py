"""Wrong arguments of the Python functions: one sentence that names the argument and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from apisr_pack.apisr_archs import load_model, set_precision
from apisr_pack.engine import arguments, prepare, session, upscale
from apisr_pack.tests import reference
from apisr_pack.tests.reference import save
from apisr_pack.tests.standins import NearestModel

PICTURE = torch.rand(1, 8, 8, 3)
NESTED = torch.nested.nested_tensor([torch.rand(4, 4, 3), torch.rand(5, 4, 3)])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("size", (1, 2, 3), "a tuple of 3; expected a height and a width"),
        ("size", 5, "of the type int; expected a height and a width"),
        ("size", np.array([16, 16]), r"a numpy array of the shape \(2,\); expected a height and a width"),
        ("budget", "2GB", "'2GB'; expected at least 0, and a whole number"),
        ("budget", float("nan"), "nan; expected at least 0, and a whole number"),
        ("budget", -1, "-1; expected at least 0, and a whole number"),
        ("output_dtype", None, "None; expected a dtype of floats, like torch.float32"),
        ("output_dtype", "float16", "'float16'; expected a dtype of floats"),
        ("output_dtype", torch.float8_e4m3fn, "torch.float8_e4m3fn; expected floats of 16 bits or more"),
        ("output_dtype", torch.complex64, "torch.complex64; expected floats"),
        ("reuse_frames", torch.rand(2), r"a tensor of the shape \(2,\); expected True or False"),
        ("cpu_fallback", None, "None; expected True or False"),
        ("cpu_fallback", "no", "'no'; expected True or False"),
        ("preset", NESTED, "a nested tensor; expected one of"),
        ("device", "meta", "'meta', which holds no numbers"),
        ("device", "warp drive", "'warp drive'; expected a device of torch"),
        ("device", "cuda:99", "'cuda:99', which torch cannot use here"),
        ("device", 3.5, "of the type float; expected a device of torch"),
        ("output_device", "meta", "'meta', which holds no numbers"),
        ("output_device", None, "None; expected a device of torch"),
    ],
)
def test_wrong_arguments_of_upscale(name: str, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is {says}") as caught:
        upscale(NearestModel(), PICTURE, **{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", (10.0, 12.0)), ("size", [np.int64(10), np.int32(12)]), ("budget", 1e9), ("device", "cpu")],
)
def test_numbers_of_other_types_are_taken(name: str, value: Any) -> None:
    result = upscale(NearestModel(), PICTURE, **{name: value})
    assert result.shape == ((1, 10, 12, 3) if name == "size" else (1, 16, 16, 3))


@pytest.mark.parametrize("value", [True, False, 1, 0, np.True_, np.False_, 1.0])
def test_flags_are_bools_or_0_or_1(value: Any) -> None:
    assert arguments.flag(value, "reuse_frames") is bool(value)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 10**400, "2", None, True - 2, torch.ones(1)])
def test_a_tolerance_is_a_finite_number_from_0(value: Any) -> None:
    model = NearestModel()
    with (
        pytest.raises(ValueError, match=r"^tolerance is .*; expected at least 0, and a finite number\.$"),
        session(model, prepare(model, PICTURE.shape), tolerance=value),
    ):
        pass


@pytest.mark.parametrize("value", [0, 0.0, 1, 0.5, False, np.float32(2)])
def test_numbers_from_0(value: Any) -> None:
    assert arguments.not_negative(value, "tolerance") == value


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (PICTURE.to_sparse(), r"a sparse tensor \(torch.sparse_coo\); .* Use images.to_dense\(\)"),
        (PICTURE.to("meta"), "a tensor on the device meta, which holds no numbers"),
        (NESTED, "a nested tensor; .* torch.stack"),
        (PICTURE.to(torch.float8_e5m2), "torch.float8_e5m2; expected floats of 16 bits or more"),
    ],
    ids=["sparse", "meta", "nested", "float8"],
)
def test_tensors_without_plain_numbers(images: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"^images is {says}"):
        upscale(NearestModel(), images)
    if not images.is_nested:
        with session(NearestModel(), prepare(NearestModel(), (1, 8, 8, 3))) as upscale_one:
            picture = torch.empty(8, 8, 3, dtype=images.dtype, layout=images.layout, device=images.device)
            with pytest.raises(ValueError, match=r"^picture is "):
                upscale_one(picture)


def test_a_model_stays_where_it_is_when_the_device_is_refused(tmp_path: Path) -> None:
    model = load_model(save(reference.rrdb_state_dict(1), tmp_path / "a.pth"))
    expected = upscale(model, PICTURE)
    with pytest.raises(ValueError, match="meta"):
        upscale(model, PICTURE, device=torch.device("meta"))
    assert torch.equal(upscale(model, PICTURE), expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"path_or_name": None}, "path_or_name is of the type NoneType; expected the path of a weight file"),
        ({"path_or_name": 7}, "path_or_name is of the type int"),
        ({"precision": ["fp16"]}, "precision is of the type list; expected one of fp32, fp16, bf16"),
        ({"precision": "fp64"}, "precision is 'fp64'; expected one of fp32, fp16, bf16"),
        ({"device": "meta"}, "device is 'meta', which holds no numbers"),
        ({"device": "warp drive"}, "device is 'warp drive'; expected a device of torch"),
        ({"device": None}, "device is None"),
    ],
)
def test_wrong_arguments_of_load_model(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = save(reference.rrdb_state_dict(1), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=f"^{says}"):
        load_model(**{"path_or_name": path, **change})


def test_an_unknown_precision_to_cast_to(tmp_path: Path) -> None:
    model = load_model(save(reference.rrdb_state_dict(1), tmp_path / "a.pth"))
    with pytest.raises(ValueError, match=r"^precision is 'half'; expected one of"):
        set_precision(model, "half")
