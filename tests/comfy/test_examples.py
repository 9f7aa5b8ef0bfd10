"""Each example workflow runs to its end as the API would run it, on the files that come with the pack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from apisr_pack.tests import ffprobe
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tests.comfy.checkpoint import write_checkpoint
from PIL import Image

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer, RunResult

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "web" / "demo"


def example(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "example_workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def demo_files(comfy: ComfyServer) -> None:
    folder = comfy.base / "input" / "apisr_demo"
    folder.mkdir(exist_ok=True)
    for path in DEMO.iterdir():
        shutil.copy(path, comfy.base / "input")
    for name in ("apisr_demo.png", "apisr_sprite.png"):
        shutil.copy(DEMO / name, folder)


def finished(server: ComfyServer, prompt: dict[str, Any], kind: str) -> tuple[RunResult, str]:
    """Run a workflow; returns its result and the id of its only node of that kind."""
    (node,) = (key for key, each in prompt.items() if each["class_type"] == kind)
    return server.run(prompt), node


@pytest.mark.usefixtures("demo_files")
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("Anime upscale, before and after", [(1152, 1536, 3)]),
        ("Anime upscale as an app", [(576, 768, 3)]),
        ("Folder of pictures of mixed sizes", [(1008, 912, 3), (1152, 1536, 3)]),
        ("Transparent sprite", [(1008, 912, 4)]),
    ],
)
def test_pictures(comfy: ComfyServer, name: str, shapes: list[tuple[int, ...]]) -> None:
    result, saver = finished(comfy, example(name), "SaveImage")
    pictures = wf.saved(comfy, result, saver)
    assert sorted(picture.shape for picture in pictures) == shapes
    assert all(np.std(picture) > 20 for picture in pictures)


@pytest.mark.usefixtures("demo_files")
def test_models_side_by_side(comfy: ComfyServer) -> None:
    prompt = example("Compare models")
    next(each for each in prompt.values() if each["class_type"] == "APISRContactSheet")["inputs"]["most_models"] = 1
    result, saver = finished(comfy, prompt, "SaveImage")
    assert [picture.shape for picture in wf.saved(comfy, result, saver)] == [(572, 1048, 3)]


@pytest.mark.usefixtures("demo_files")
@pytest.mark.parametrize("name", ["Video", "Frames of a batch"])
def test_videos(comfy: ComfyServer, name: str) -> None:
    result, saver = finished(comfy, example(name), "SaveVideo")
    path = wf.saved_video(comfy, result, saver)
    assert (ffprobe.video(path)["width"], ffprobe.video(path)["height"]) == (1024, 768)
    assert [time for time, _ in ffprobe.frames(path)] == [time for time, _ in ffprobe.frames(DEMO / "apisr_demo.mp4")]


def test_the_hires_fix_from_prompt_to_picture(comfy: ComfyServer) -> None:
    """With a checkpoint of random weights, and as small and short as it goes."""
    write_checkpoint(comfy.base / "models" / "checkpoints" / "random.ckpt")
    prompt = example("Hi-res fix 1.5x after diffusion")
    inputs = {each["class_type"]: each["inputs"] for each in prompt.values()}
    latent, upscale = inputs["EmptyLatentImage"], inputs["APISRUpscale"]
    assert [latent[side] * upscale["resize_to.factor"] % 8 for side in ("width", "height")] == [0, 0]
    inputs["CheckpointLoaderSimple"]["ckpt_name"] = "random.ckpt"
    latent |= {"width": 64, "height": 88}
    for sampler in (each["inputs"] for each in prompt.values() if each["class_type"] == "KSampler"):
        sampler["steps"] = 2
    result, saver = finished(comfy, prompt, "SaveImage")
    (picture,) = wf.saved(comfy, result, saver)
    assert picture.shape == (136, 96, 3), "88 x 1.5 is 132, and VAE Encode needs a multiple of 8"
    assert np.std(picture) > 20
    (compare,) = (shown for shown in result.outputs.values() if "apisr_before" in shown)
    before, after = (shown_picture(comfy, compare[f"apisr_{name}"]) for name in ("before", "after"))
    assert before.shape == (88, 64, 3)
    assert np.std(before) > 20
    assert np.array_equal(after, picture)


def shown_picture(server: ComfyServer, files: list[dict[str, str]]) -> np.ndarray:
    (file,) = files
    return np.asarray(Image.open(server.base / "temp" / file["subfolder"] / file["filename"]))
