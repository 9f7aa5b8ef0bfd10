"""Progress and interrupt, other machines' workflows, and servers with other options."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.tests import reference
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed, ExecutionInterrupted

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer, Event

LEAST_MEMORY = "--novram" if torch.cuda.is_available() else "--disable-smart-memory"
"""ComfyUI refuses --novram beside --cpu; there, models at least leave after each run."""


def values(events: list[Event] | tuple[Event, ...], node_id: str) -> list[float]:
    """The progress that a node reported, each as a part of the whole."""
    progress = [event["data"] for event in events if event["type"] == "progress"]
    return [data["value"] / data["max"] for data in progress if data["node"] == node_id]


@pytest.fixture(scope="module")
def slow_model(comfy: ComfyServer) -> str:
    """An RRDB network: a second for a small picture on a CPU."""
    _, weights = reference.rrdb()
    wf.write_official(comfy.models_dir / "slow.pth", weights)
    return "slow.pth"


def test_progress_grows_to_the_end(comfy: ComfyServer, slow_model: str) -> None:
    prompt = wf.ours(slow_model, wf.send(comfy, wf.crop(64, 96), "progress.png"), tile_size=32)
    seen = values(comfy.run(prompt).events, "upscaled")
    assert seen[0] < 1
    assert seen[-1] == 1
    assert seen == sorted(seen)


def test_interrupt_ends_the_run_which_can_run_again(comfy: ComfyServer, slow_model: str) -> None:
    """One tile of a hundred frames: on a CPU this would take hours, on any GPU longer than the request."""
    prompt = wf.ours(slow_model, wf.send(comfy, wf.crop(256, 256, top=0, left=0), "long.png"))
    prompt["batch"] = wf.node("RepeatImageBatch", image=("picture", 0), amount=100)
    prompt["upscaled"] = wf.our_upscale("model", "batch", reuse_frames=False)
    events: list[Event] = []

    def interrupt_when_at_work(event: dict[str, Any]) -> None:
        events.append(event)
        if len(values(events, "upscaled")) == 2 and event["type"] == "progress":
            comfy.interrupt()

    with pytest.raises(ExecutionInterrupted) as caught:
        comfy.run(prompt, on_event=interrupt_when_at_work, timeout=120)
    assert caught.value.details["node_id"] == "upscaled"
    assert values(events, "upscaled")[-1] < 0.5

    prompt["batch"] = wf.node("RepeatImageBatch", image=("picture", 0), amount=1)
    again = wf.run(comfy, prompt)
    expected = wf.by_reference(reference.rrdb()[0].eval(), wf.crop(256, 256, top=0, left=0))
    assert wf.steps_apart(again, expected) <= (2 if torch.cuda.is_available() else 1)  # fp16 on a GPU


def test_out_of_memory_goes_on_in_strips_and_tiles(comfy: ComfyServer) -> None:
    picture = wf.send(comfy, wf.crop(180, 200, top=20, left=40), "scarce.png")
    calm = wf.run(comfy, wf.ours(wf.BUNDLED, picture))
    for limit in (200 * 40, 130 * 16):
        prompt = wf.ours(wf.BUNDLED, picture)
        prompt["scarce"] = wf.node("TestingScarceMemory", upscale_model=("model", 0), limit=limit)
        prompt["upscaled"] = wf.our_upscale("scarce", "picture")
        assert wf.steps_apart(wf.run(comfy, prompt), calm) <= 1
    assert "Out of memory with 200x180 pixels; going on with 4 tiles of" in comfy.log_text
    assert "going on with whole image in strips of 16 rows" in comfy.log_text, "of a tile"


def test_out_of_memory_for_good_is_one_clear_error(comfy: ComfyServer) -> None:
    picture = wf.send(comfy, wf.crop(64, 64), "none_left.png")
    prompt = wf.ours(wf.BUNDLED, picture)
    prompt["scarce"] = wf.node("TestingScarceMemory", upscale_model=("model", 0), limit=10)
    prompt["upscaled"] = wf.our_upscale("scarce", "picture")
    with pytest.raises(ExecutionFailed) as caught:
        comfy.run(prompt)
    assert caught.value.details["exception_type"] == "apisr.NotEnoughMemory"
    for words in ("Out of memory on cpu", "GB seem to be free", "smaller model"):
        assert words in caught.value.details["exception_message"]
    assert wf.run(comfy, wf.ours(wf.BUNDLED, picture)).shape == (256, 256, 3)


@pytest.mark.parametrize("name", ["anime\\travelled.pth", "anime/travelled.pth"])
def test_either_separator_finds_the_file(comfy: ComfyServer, name: str) -> None:
    (comfy.models_dir / "anime").mkdir(exist_ok=True)
    wf.write_compact(comfy.models_dir / "anime" / "travelled.pth", seed=3)
    picture = wf.send(comfy, wf.crop(16, 24), "travelled.png")
    assert wf.run(comfy, wf.ours(name, picture)).shape == (64, 96, 3)


@pytest.mark.parametrize("name", ["APISR\\RealESRGAN_x4plus_anime_6B.pth", "RealESRGAN_x4plus_anime_6B.pth"])
@pytest.mark.parametrize("folder", ["", "elsewhere"])
def test_zoo_model_is_found_in_any_folder(comfy: ComfyServer, name: str, folder: str) -> None:
    stem = "RealESRGAN_x4plus_anime_6B"
    for path in comfy.models_dir.rglob(f"{stem}.pth"):
        path.unlink()
    (comfy.models_dir / folder).mkdir(exist_ok=True)
    wf.write_compact(comfy.models_dir / folder / f"{stem}.pth", seed=4)
    picture = wf.send(comfy, wf.crop(16, 24), "travelled.png")
    assert wf.run(comfy, wf.ours(name, picture)).shape == (64, 96, 3)


def test_gpu_of_another_machine_becomes_the_default(comfy: ComfyServer) -> None:
    picture = wf.send(comfy, wf.crop(16, 28), "gpu.png")
    result = wf.run(comfy, wf.ours("", picture, loader=wf.our_loader(wf.BUNDLED, device="gpu:77")))
    assert wf.steps_apart(result, wf.run(comfy, wf.ours(wf.BUNDLED, picture))) == 0
    assert "There is no device 'gpu:77' here; using the default one." in comfy.log_text


def test_least_memory_half_precision_pictures_and_offline(
    comfy: ComfyServer, comfy_server: Callable[..., ComfyServer]
) -> None:
    """One server for all three: each start takes seconds."""
    server = comfy_server(LEAST_MEMORY, "--fp16-intermediates", env={"APISR_OFFLINE": "1"})
    crop = wf.crop(40, 56)
    pictures = [wf.run(s, wf.ours(wf.BUNDLED, wf.send(s, crop, "options.png"))) for s in (comfy, server)]
    assert wf.steps_apart(*pictures) <= 1

    wf.write_compact(server.models_dir / "core.pth", seed=5)
    by_core = wf.ours("", "options.png", loader=wf.core_loader("core.pth"))
    again = {**by_core, "upscaled": wf.our_upscale("model", "picture", tile_size=32)}
    assert wf.steps_apart(wf.run(server, by_core), wf.run(server, again)) <= 1

    check_missing(server, download=True, error="DownloadFailed", words="APISR_OFFLINE forbids")
    check_missing(server, download=False, error="MissingWeights", words="Turn download on")
    assert sorted(path.name for path in server.models_dir.iterdir()) == ["core.pth"]
    assert wf.run(server, wf.ours(wf.BUNDLED, "options.png", tile_size=48)).shape == np.shape(pictures[0])


def check_missing(server: ComfyServer, download: bool, error: str, words: str) -> None:
    """A zoo model that is not there gives an error that tells how to get it."""
    known = zoo.find("4x_APISR_GRL_GAN_generator.pth")
    assert known is not None
    with pytest.raises(ExecutionFailed) as caught:
        server.run(wf.ours("", "options.png", loader=wf.our_loader(known.file, download=download)))
    assert caught.value.details["exception_type"] == f"apisr.{error}"
    assert len(known.urls) == 2
    for word in (words, known.file, str(server.models_dir), *known.urls, str(known.bytes), known.sha256):
        assert word in caught.value.details["exception_message"]
