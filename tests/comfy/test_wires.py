"""Wrong things on the wires of our nodes: one sentence; and two more shapes of pictures, which are taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer


def with_a(what: str, name: str, node: str = "upscaled") -> wf.Prompt:
    """The usual workflow on two small pictures, with that thing on one wire."""
    prompt = wf.ours(wf.BUNDLED, "") | {
        "picture": wf.node("EmptyImage", width=5, height=2, batch_size=2, color=0),
        "thing": wf.node("TestingAnything", what=what),
    }
    choice, _, number = name.partition(".")
    if number:
        prompt[node]["inputs"][choice] = number
    prompt[node]["inputs"][name] = ["thing", 0]
    return prompt


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("image", "None", "image is None; expected a tensor"),
        ("image", "list", "image is a list of 1; expected a tensor"),
        ("image", "array", "image is a numpy array of the shape (2, 2, 5, 3)"),
        ("image", "bytes", "image is torch.uint8; expected floats, which are between 0 and 1. Divide by 255."),
        ("image", "H, W", "image has the shape (2, 5); expected (batch, height, width, channels)"),
        ("image", "5 dimensions", "image has the shape (1, 2, 2, 5, 3); expected (batch, height, width, channels)"),
        ("image", "B, C, H, W", "It looks like (batch, channels, height, width)"),
        ("upscale_model", "None", "upscale_model is None; expected an upscale model"),
        ("upscale_model", "Chinese", "upscale_model is of the type str; expected an upscale model"),
        ("upscale_model", "list", "upscale_model is a list of 1; expected an upscale model"),
        ("upscale_model", "network", "upscale_model is a bare network (Conv2d); expected an upscale model"),
        ("mask", "list", "mask is a list of 1; expected a tensor of masks, (batch, height, width)"),
        ("mask", "bytes", "mask has the shape (2, 2, 5, 3); expected (batch, height, width)"),
        ("mask", "B, H, W of bytes", "mask is torch.uint8; expected floats, which are between 0 and 1. Divide by 255."),
        ("mask", "3 masks", "mask has 3 masks, and there are 2 pictures; expected one mask, or one for each picture"),
        ("resize_to.factor", "NaN", "resize_to.factor is nan; expected more than 0"),
        ("resize_to.factor", "list", "resize_to.factor is a list of 1; expected more than 0"),
        ("multiple_of", "NaN", "multiple_of is nan; expected at least 1, and a whole number"),
        ("tile_size", "NaN", "tile_size is nan; expected at least 0, and a whole number"),
        ("overlap", "None", "overlap is None; expected at least 0, and a whole number"),
        ("resize_to", "list", "resize_to is a list of 1; expected one of"),
        ("tiling", "None", "tiling is None; expected one of"),
        ("alpha", "list", "alpha is a list of 1; expected one of"),
        ("reuse_frames", "pictures", "reuse_frames is a tensor of the shape (2, 2, 5, 3); expected True or False"),
        ("cpu_fallback", "dict", "cpu_fallback is of the type dict; expected True or False"),
    ],
)
def test_one_sentence_for_what_is_wrong(comfy: ComfyServer, name: str, what: str, words: str) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        comfy.run(with_a(what, name))
    assert caught.value.details["node_id"] == "upscaled"
    assert words in caught.value.details["exception_message"]


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("precision", "list", "precision is a list of 1; expected one of"),
        ("model_name", "pictures", "model_name is a tensor of the shape (2, 2, 5, 3); expected the name of a model"),
        ("model_name", "list", "model_name is a list of 1; expected the name of a model"),
        ("model_name", "dict", "model_name is of the type dict; expected the name of a model"),
        ("model_name", "None", "model_name is None; expected the name of a model"),
        ("download", "pictures", "download is a tensor of the shape (2, 2, 5, 3); expected True or False"),
        ("download", "NaN", "download is nan; expected True or False"),
        ("device", "dict", "device is of the type dict; expected the name of a device"),
        ("device", "None", "device is None; expected the name of a device"),
        ("device", "cuda:7", "device is 'cuda:7'; expected one of: default, cpu"),
    ],
)
def test_one_sentence_for_what_is_wrong_at_the_loader(comfy: ComfyServer, name: str, what: str, words: str) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        comfy.run(with_a(what, name, node="model"))
    assert words in caught.value.details["exception_message"]
    assert "\n" not in caught.value.details["exception_message"].strip()


@pytest.mark.parametrize(("what", "shape"), [("H, W, C", (1, 8, 20, 3)), ("B, H, W", (2, 8, 20, 1))])
def test_one_picture_and_grey_pictures_are_taken(comfy: ComfyServer, what: str, shape: tuple[int, ...]) -> None:
    """Core's Save Image cannot take grey ones; so the numbers are looked at, which are few enough to be shown all."""
    prompt = with_a(what, "image")
    prompt["saved"] = wf.node("PreviewAny", source=("upscaled", 0))
    (shown,) = (e["data"] for e in comfy.run(prompt).events if e["type"] == "executed" and e["data"]["node"] == "saved")
    numbers = shown["output"]["text"][0].removeprefix("tensor(").removesuffix(")")
    result = np.array(json.loads(numbers))
    assert result.shape == shape
    assert np.abs(result - 0.5).max() < 0.05
