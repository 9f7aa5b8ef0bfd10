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


@pytest.mark.usefixtures("demo_files")
def test_the_hires_fix_between_its_samplers(comfy: ComfyServer) -> None:
    """Its checkpoint is the user's. With a picture in the place of the first sampler's, the rest runs as it is, up to
    what would go into VAE Encode.
    """
    prompt = example("Hi-res fix 1.5x after diffusion")
    (upscaler,) = (key for key, each in prompt.items() if each["class_type"] == "APISRUpscale")
    (loader,) = (key for key, each in prompt.items() if each["class_type"] == "APISRModelLoader")
    (encoder,) = (each for each in prompt.values() if each["class_type"] == "VAEEncode")
    assert encoder["inputs"]["pixels"] == [upscaler, 0]
    decoded = prompt[upscaler]["inputs"]["image"][0]
    latent = next(each for each in prompt.values() if each["class_type"] == "EmptyLatentImage")
    part = {
        loader: prompt[loader],
        upscaler: prompt[upscaler],
        decoded: wf.load_image(wf.send(comfy, wf.crop(176, 240), "decoded.png")),
        "saved": wf.save(upscaler),
    }
    assert wf.run(comfy, part).shape == (264, 360, 3)
    height, width = latent["inputs"]["height"], latent["inputs"]["width"]
    assert (height * 1.5 % 8, width * 1.5 % 8) == (0, 0)
