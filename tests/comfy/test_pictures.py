"""Batches, transparency, grey, sizes, tiles and ComfyUI's cache, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from apisr_pack.tests.comfy import workflows as wf
from PIL import Image
from spandrel import ModelLoader

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer, RunResult

ROOT = Path(__file__).resolve().parents[2]


def upscaled(server: ComfyServer, picture: np.ndarray, name: str, **changes: object) -> np.ndarray:
    return wf.run(server, wf.ours(wf.BUNDLED, wf.send(server, picture, name), **changes))


def bicubic(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """PIL's antialiased resize, in floats: of bytes it would cut overshoots off between its two passes."""
    channels = [Image.fromarray(channel) for channel in np.moveaxis(picture.astype(np.float32), -1, 0)]
    resized = [np.asarray(c.resize((width, height), Image.Resampling.BICUBIC)) for c in channels]
    return np.stack(resized, axis=-1).clip(0, 255).astype(np.uint8)


def started(result: RunResult) -> set[str]:
    """The nodes that ran, rather than being answered from ComfyUI's cache."""
    nodes = {event["data"]["node"] for event in result.events if event["type"] == "executing"}
    return {node for node in nodes if node is not None}


def test_example_workflow_runs_as_it_is(comfy: ComfyServer) -> None:
    path = ROOT / "example_workflows" / "api" / "Anime upscale, before and after.json"
    prompt = json.loads(path.read_text("utf-8"))
    demo = ROOT / "tests" / "art" / "demo.png"
    (picture,) = (node for node in prompt.values() if node["class_type"] == "LoadImage")
    (end,) = (key for key, node in prompt.items() if node["class_type"] == "SaveImage")
    picture["inputs"]["image"] = comfy.upload_image(demo)
    (result,) = wf.saved(comfy, comfy.run(prompt), end)

    assert result.shape == (4 * 288, 4 * 384, 3)
    bundled = ModelLoader().load_from_file(ROOT / "models" / "realesr-animevideov3.safetensors")
    expected = wf.by_reference(bundled.model.float(), np.asarray(Image.open(demo)))
    assert wf.steps_apart(result, expected) <= (2 if torch.cuda.is_available() else 1)  # fp16 on a GPU


def test_batch_keeps_order_and_repeats(comfy: ComfyServer) -> None:
    one, other = wf.crop(32, 40), wf.crop(32, 40, top=20, left=20)
    alone = [upscaled(comfy, one, "one.png"), upscaled(comfy, other, "other.png")]
    assert wf.steps_apart(*alone) > 50
    prompt = wf.ours(wf.BUNDLED, "one.png") | {
        "other": wf.load_image("other.png"),
        "twice": wf.node("RepeatImageBatch", image=("picture", 0), amount=2),
        "batch": wf.node("ImageBatch", image1=("twice", 0), image2=("other", 0)),
    }
    for reuse in (True, False):
        prompt["upscaled"] = wf.our_upscale("model", "batch", reuse_frames=reuse)
        frames = wf.saved(comfy, comfy.run(prompt))
        assert len(frames) == 3
        for frame, expected in zip(frames, (alone[0], alone[0], alone[1]), strict=True):
            assert wf.steps_apart(frame, expected) == 0


def test_transparency_is_upscaled_beside_the_colours(comfy: ComfyServer) -> None:
    colours = wf.crop(24, 36)
    alpha = np.linspace(1, 255, 24 * 36).reshape(24, 36).astype(np.uint8)
    alpha[8:16, 10:20] = 255
    name = wf.send(comfy, np.dstack([colours, alpha]), "transparent.png")
    prompt = wf.ours(wf.BUNDLED, name) | {
        "joined": wf.node("JoinImageWithAlpha", image=("picture", 0), alpha=("picture", 1)),
        "upscaled": wf.our_upscale("model", "joined", alpha="filter"),
    }
    result = wf.run(comfy, prompt)

    assert result.shape == (96, 144, 4)
    assert wf.steps_apart(result[..., :3], upscaled(comfy, colours, "opaque.png")) == 0
    assert wf.steps_apart(result[..., 3:], bicubic(alpha[..., None], 96, 144)) <= 1


def test_no_dark_rim_where_transparency_begins(comfy: ComfyServer) -> None:
    """Black under alpha 0 must not be drawn into the edge."""
    colours = np.full((40, 48, 3), 230, np.uint8)
    alpha = np.zeros((40, 48), np.uint8)
    alpha[8:32, 12:36] = 255
    colours[alpha == 0] = 0
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, np.dstack([colours, alpha]), "rim.png")) | {
        "joined": wf.node("JoinImageWithAlpha", image=("picture", 0), alpha=("picture", 1)),
        "upscaled": wf.our_upscale("model", "joined"),
    }
    result = wf.run(comfy, prompt)
    seen = result[result[..., 3] > 8]
    assert len(seen) > 90 * 90
    assert seen[..., :3].min() > 200


def test_constant_transparency_stays_constant(comfy: ComfyServer) -> None:
    picture = np.dstack([wf.crop(16, 20), np.full((16, 20), 128, np.uint8)])
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, picture, "half.png")) | {
        "joined": wf.node("JoinImageWithAlpha", image=("picture", 0), alpha=("picture", 1)),
        "upscaled": wf.our_upscale("model", "joined"),
    }
    result = wf.run(comfy, prompt)
    assert result.shape == (64, 80, 4)
    assert abs(int(result[0, 0, 3]) - 128) <= 1
    assert (result[..., 3] == result[0, 0, 3]).all()


def test_grey_picture_is_treated_as_colours(comfy: ComfyServer) -> None:
    grey = wf.crop(19, 33)[..., 1]
    result = upscaled(comfy, grey, "grey.png")
    assert result.shape == (76, 132, 3)
    # not 0: core's Load Image itself differs by a step between a grey file and the same picture as RGB
    assert wf.steps_apart(result, upscaled(comfy, np.dstack([grey] * 3), "grey_rgb.png")) <= 4


def test_result_has_the_size_asked_for(comfy: ComfyServer) -> None:
    picture = wf.crop(100, 150)
    # 150 and 225 go to the nearest multiples of 8; 200.67 and 301 to those of 2, half-way up
    by_factor = upscaled(comfy, picture, "size.png", multiple_of=8, **wf.resize_to("factor", factor=1.5))
    assert by_factor.shape == (152, 224, 3)
    by_side = upscaled(comfy, picture, "size.png", multiple_of=2, **wf.resize_to("longer side", pixels=301))
    assert by_side.shape == (200, 302, 3)

    natural = upscaled(comfy, picture, "size.png")
    assert wf.steps_apart(by_factor, bicubic(natural, 152, 224)) <= 2
    assert wf.steps_apart(by_side, bicubic(natural, 200, 302)) <= 2


def test_hires_fix_gives_exactly_the_size(comfy: ComfyServer) -> None:
    picture = np.tile(wf.crop(152, 208, top=0, left=0), (8, 4, 1))
    assert picture.shape == (1216, 832, 3)
    result = upscaled(comfy, picture, "hires.png", multiple_of=8, **wf.resize_to("factor", factor=1.5))
    assert result.shape == (1824, 1248, 3)


def test_twice_through_the_model_when_much_more_is_asked_for(comfy: ComfyServer) -> None:
    picture = wf.crop(12, 16)
    once = upscaled(comfy, picture, "once.png")
    twice = upscaled(comfy, picture, "once.png", **wf.resize_to("factor", factor=16.0))
    # between the passes nothing is rounded to 8 bits; the file in between is
    again = upscaled(comfy, once, "twice.png")
    assert twice.shape == again.shape == (192, 256, 3)
    assert np.abs(twice.astype(int) - again.astype(int)).mean() < 2
    assert "in two passes" in comfy.log_text


def test_a_video_without_frames(comfy: ComfyServer) -> None:
    """Core's Save Image cannot take one; so its shape is what is looked at."""
    prompt = wf.ours(wf.BUNDLED, "") | {"picture": wf.node("TestingNoFrames")}
    prompt["saved"] = wf.node("PreviewAny", source=("upscaled", 0))
    (shown,) = (e["data"] for e in comfy.run(prompt).events if e["type"] == "executed" and e["data"]["node"] == "saved")
    assert "size=(0, 0, 0, 3)" in shown["output"]["text"][0]


def test_held_and_partly_changed_frames(comfy: ComfyServer) -> None:
    """48 frames on twos: each drawing is held for two frames, and the next one only moves its mouth, so to speak."""
    drawing = wf.crop(256, 352, top=20, left=20)
    names = []
    for number in range(6):
        frame = drawing.copy()
        frame[120:126, 160:172] = 40 * number
        names.append(wf.send(comfy, frame, f"frame{number}.png"))
    prompt = wf.ours(wf.BUNDLED, names[0])
    prompt["held0"] = wf.node("RepeatImageBatch", image=("picture", 0), amount=2)
    last = "held0"
    for number, name in enumerate(names[1:], 1):
        prompt[f"load{number}"] = wf.load_image(name)
        prompt[f"held{number}"] = wf.node("RepeatImageBatch", image=(f"load{number}", 0), amount=2)
        prompt[f"batch{number}"] = wf.node("ImageBatch", image1=(last, 0), image2=(f"held{number}", 0))
        last = f"batch{number}"
    prompt["clip"] = wf.node("RepeatImageBatch", image=(last, 0), amount=4)
    prompt["upscaled"] = wf.our_upscale("model", "clip")
    frames = wf.saved(comfy, comfy.run(prompt))
    assert len(frames) == 48
    alone = [wf.run(comfy, wf.ours(wf.BUNDLED, name)) for name in names]
    on_twos = [picture for picture in alone for _ in range(2)]
    for frame, expected in zip(frames, on_twos * 4, strict=True):
        assert wf.steps_apart(frame, expected) <= 1
    assert "24 of 48 frames copied, 23 computed in part" in comfy.log_text


def test_tiles_leave_no_trace(comfy: ComfyServer) -> None:
    picture = wf.crop(104, 152)
    whole = upscaled(comfy, picture, "tiles.png")
    tiled = upscaled(comfy, picture, "tiles.png", tile_size=64)
    assert wf.steps_apart(whole, tiled) <= 1


def test_running_again_computes_nothing(comfy: ComfyServer) -> None:
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, wf.crop(20, 24), "again.png"))
    assert "upscaled" in started(comfy.run(prompt))
    assert not {"model", "upscaled"} & started(comfy.run(prompt))


def test_replaced_weight_file_is_loaded_anew(comfy: ComfyServer) -> None:
    picture = wf.send(comfy, wf.crop(16, 24), "replaced.png")
    for seed, name in enumerate(("replaced.pth", "second.pth")):
        wf.write_compact(comfy.models_dir / name, seed)
    expected = wf.run(comfy, wf.ours("second.pth", picture))
    # last, so that ComfyUI still has it in its cache when the same is asked again
    before = wf.run(comfy, wf.ours("replaced.pth", picture))
    assert wf.steps_apart(before, expected) > 20

    (comfy.models_dir / "second.pth").replace(comfy.models_dir / "replaced.pth")
    assert wf.steps_apart(wf.run(comfy, wf.ours("replaced.pth", picture)), expected) == 0
