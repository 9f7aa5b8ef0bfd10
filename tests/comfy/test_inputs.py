"""`resize_to` with the number that each choice brings, and `mask`, as API prompts and links send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from apisr_pack.tests import trained
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed, PromptRejected
from PIL import Image

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer


def sized(server: ComfyServer, picture: tuple[int, int], given: dict[str, Any]) -> tuple[int, ...]:
    """Height and width of the result for a picture of (height, width) and exactly these inputs for its size."""
    prompt = wf.ours(wf.BUNDLED, wf.send(server, np.zeros((*picture, 3), np.uint8), f"size{picture}.png")) | {
        "64": wf.node("PrimitiveInt", value=64),
        "1.5": wf.node("PrimitiveFloat", value=1.5),
        "factor": wf.node("TestingAnything", what="factor"),
        "None": wf.node("TestingAnything", what="None"),
    }
    inputs = prompt["upscaled"]["inputs"]
    del inputs["resize_to"]
    inputs |= given
    return wf.run(server, prompt).shape[:2]


@pytest.mark.parametrize(
    ("picture", "given", "size"),
    [
        # what each choice means
        ((12, 16), {"resize_to": "model scale"}, (48, 64)),
        ((12, 16), {"resize_to": "factor", "resize_to.factor": 1.5}, (18, 24)),
        ((12, 16), {"resize_to": "longer side", "resize_to.pixels": 40}, (30, 40)),
        ((12, 16), {"resize_to": "shorter side", "resize_to.pixels": 36}, (36, 48)),
        ((12, 16), {"resize_to": "megapixels", "resize_to.megapixels": 0.01}, (89, 118)),
        # nothing given, or None: the defaults
        ((12, 16), {}, (48, 64)),
        ((12, 16), {"resize_to": None}, (48, 64)),
        ((12, 16), {"resize_to": "factor"}, (24, 32)),
        ((12, 16), {"resize_to": "factor", "resize_to.factor": ["None", 0]}, (24, 32)),
        ((2, 64), {"resize_to": "longer side"}, (64, 2048)),
        ((32, 32), {"resize_to": "shorter side"}, (1080, 1080)),
        ((8, 32), {"resize_to": "megapixels"}, (1024, 4096)),
        # the number of another choice stays behind, as on a subgraph
        ((12, 16), {"resize_to": "model scale", "resize_to.factor": 1.5}, (48, 64)),
        ((2, 64), {"resize_to": "longer side", "resize_to.factor": 1.5}, (64, 2048)),
        ((2, 64), {"resize_to": "longer side", "resize_to.factor": ["1.5", 0]}, (64, 2048)),
        # links
        ((12, 16), {"resize_to": "factor", "resize_to.factor": ["1.5", 0]}, (18, 24)),
        ((12, 16), {"resize_to": "longer side", "resize_to.pixels": ["64", 0]}, (48, 64)),
        ((12, 16), {"resize_to": "shorter side", "resize_to.pixels": ["64", 0]}, (64, 85)),
        ((12, 16), {"resize_to": ["factor", 0]}, (24, 32)),
        ((12, 16), {"resize_to": ["factor", 0], "resize_to.factor": 1.5}, (18, 24)),
        ((12, 16), {"resize_to": ["factor", 0], "resize_to.factor": ["1.5", 0]}, (18, 24)),
        ((12, 16), {"resize_to": ["None", 0]}, (48, 64)),
    ],
)
def test_sizes(comfy: ComfyServer, picture: tuple[int, int], given: dict[str, Any], size: tuple[int, int]) -> None:
    assert sized(comfy, picture, given) == size


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"resize_to": "faktor"}, "resize_to is 'faktor'; expected one of: model scale, factor, longer side"),
        ({"resize_to": ""}, "resize_to is ''; expected one of"),
        ({"resize_to": 2}, "resize_to is 2; expected one of"),
        ({"resize_to": ["a", "b", "c"]}, "resize_to is a list of 3; expected one of"),
        ({"resize_to": {"factor": 2.0}}, "resize_to is of the type dict; expected one of"),
        ({"resize_to": "faktor", "resize_to.factor": 1.5}, "resize_to is 'faktor'; expected one of"),
        ({"resize_to.factor": 1.5}, "resize_to.factor is given without resize_to"),
        ({"resize_to": ["64", 0]}, "resize_to is 64; expected one of"),
        ({"resize_to": ["factor", 0], "resize_to.factor": -1}, "resize_to.factor is -1; expected more than 0"),
    ],
)
def test_one_sentence_for_a_size_that_cannot_be_meant(comfy: ComfyServer, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        sized(comfy, (12, 16), given)
    assert words in caught.value.details["exception_message"]


@pytest.mark.parametrize(
    "given",
    [
        wf.resize_to("factor", factor=16.01),
        wf.resize_to("factor", factor=0),
        wf.resize_to("longer side", pixels=15),
        wf.resize_to("shorter side", pixels=16385),
        wf.resize_to("megapixels", megapixels=257),
    ],
)
def test_numbers_beyond_their_limits_are_refused_by_name(comfy: ComfyServer, given: dict[str, Any]) -> None:
    _, name = given
    with pytest.raises(PromptRejected) as caught:
        sized(comfy, (12, 16), given)
    (error,) = caught.value.details["node_errors"]["upscaled"]["errors"]
    assert error["details"] == name


# Masks


def sprite() -> np.ndarray:
    """A figure of a visual novel, uint8 (48, 60, 4): opaque, transparent and in between."""
    with Image.open(trained.ART / "sylvie_green_smile.png") as picture:
        return np.asarray(picture.convert("RGBA"))[150:198, 100:160]


def test_mask_of_load_image_does_what_joining_it_before_does(comfy: ComfyServer) -> None:
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, sprite(), "sprite.png"))
    prompt["upscaled"]["inputs"]["mask"] = ["picture", 1]
    masked = wf.run(comfy, prompt)
    prompt["joined"] = wf.node("JoinImageWithAlpha", image=("picture", 0), alpha=("picture", 1))
    prompt["upscaled"] = wf.our_upscale("model", "joined")
    assert masked.shape == (192, 240, 4)
    assert (masked == wf.run(comfy, prompt)).all()

    by_filter = prompt | {"upscaled": wf.our_upscale("model", "joined", alpha="filter")}
    assert wf.steps_apart(wf.run(comfy, by_filter)[..., 3:], masked[..., 3:]) > 20  # the model is the default


def test_opaque_and_transparent_areas_stay_exactly_that(comfy: ComfyServer) -> None:
    """Else the background shines through a sprite by a step or two."""
    picture = sprite()
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, picture, "sprite.png"), mask=["picture", 1])
    alpha = wf.run(comfy, prompt)[..., 3]
    for value in (0, 255):
        inside = _eroded(picture[..., 3] == value, 2).repeat(4, axis=0).repeat(4, axis=1)
        assert inside.sum() > 1000
        assert (alpha[inside] == value).all()


def _eroded(area: np.ndarray, by: int) -> np.ndarray:
    padded = np.pad(area, by, mode="edge")
    shifts = range(2 * by + 1)
    height, width = area.shape
    return np.all([padded[y : y + height, x : x + width] for y in shifts for x in shifts], axis=0)


def test_mask_of_a_picture_without_transparency_makes_it_opaque(comfy: ComfyServer) -> None:
    """Load Image then gives a black mask of 64x64 pixels, whatever the size of the picture."""
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, wf.crop(20, 30), "plain.png"))
    plain = wf.run(comfy, prompt)
    prompt["upscaled"]["inputs"]["mask"] = ["picture", 1]
    masked = wf.run(comfy, prompt)
    assert masked.shape == (80, 120, 4)
    assert (masked[..., :3] == plain).all()
    assert (masked[..., 3] == 255).all()


def test_one_mask_serves_a_batch(comfy: ComfyServer) -> None:
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, sprite(), "sprite.png"))
    prompt["batch"] = wf.node("RepeatImageBatch", image=("picture", 0), amount=3)
    prompt["upscaled"] = wf.our_upscale("model", "batch", mask=["picture", 1])
    frames = wf.saved(comfy, comfy.run(prompt))
    assert len(frames) == 3
    assert all((frame == frames[0]).all() for frame in frames)
    assert frames[0].shape == (192, 240, 4)


def test_mask_without_a_batch_in_booleans_is_taken(comfy: ComfyServer) -> None:
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, wf.crop(2, 2), "two.png"))
    prompt["thing"] = wf.node("TestingAnything", what="booleans")
    prompt["upscaled"]["inputs"]["mask"] = ["thing", 0]
    result = wf.run(comfy, prompt)
    assert result.shape == (8, 8, 4)
    assert result[:, :2, 3].max() < 100 < 155 < result[:, -2:, 3].min()


def test_no_mask_on_the_wire_is_no_mask(comfy: ComfyServer) -> None:
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, wf.crop(8, 8), "none.png"))
    prompt["thing"] = wf.node("TestingAnything", what="None")
    prompt["upscaled"]["inputs"]["mask"] = ["thing", 0]
    assert wf.run(comfy, prompt).shape == (32, 32, 3)
