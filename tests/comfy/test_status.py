"""What stands on nodes while they run and when they have ended, for pages with our script and for others."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from apisr_pack.tests import reference
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed, ExecutionInterrupted
from PIL import Image

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer, Event

LINE = 30
"""Characters that fit into a line on a node."""


@pytest.fixture(scope="module")
def comfy(start_comfy: Callable[..., AbstractContextManager[ComfyServer]]) -> Iterator[ComfyServer]:
    """A server of this file's own: nothing is in its cache, and no model was put there by other tests."""
    with start_comfy() as server:
        yield server


@pytest.fixture(scope="module")
def slow_model(comfy: ComfyServer) -> str:
    _, weights = reference.rrdb()
    wf.write_official(comfy.models_dir / "slow.pth", weights)
    return "slow.pth"


def texts(events: list[Event] | tuple[Event, ...], node: str, kind: str = "progress_text") -> list[str]:
    """What was shown on a node, in order."""
    shown = [event["data"] for event in events if event["type"] == kind]
    return [data["text"] for data in shown if data["node"] == node]


def failed(server: ComfyServer, prompt: wf.Prompt, node: str, language: str | None = None) -> str:
    """The last text on a node of a run that fails."""
    events: list[Event] = []
    with pytest.raises(ExecutionFailed):
        server.run(prompt, on_event=events.append, language=language)
    return texts(events, node, "progress_text" if language is None else "apisr.status")[-1]


def stop_at(server: ComfyServer, prompt: wf.Prompt, share: float) -> list[Event]:
    """Press Cancel when that share of the run is done; returns its events."""
    events: list[Event] = []

    def cancel(event: Event) -> None:
        events.append(event)
        if event["type"] == "progress" and event["data"]["value"] / event["data"]["max"] > share:
            server.interrupt()

    with pytest.raises(ExecutionInterrupted):
        server.run(prompt, on_event=cancel)
    return events


def test_a_picture_says_its_size_first_and_its_time_at_the_end(comfy: ComfyServer) -> None:
    picture = wf.send(comfy, wf.crop(24, 36), "status.png")
    result = comfy.run(wf.ours(wf.BUNDLED, picture, **wf.resize_to("factor", factor=1.5)))
    seen = texts(result.events, "upscaled")
    assert seen[0] == "54 x 36"
    assert re.fullmatch(r"54 x 36 in [\d.]+ s", seen[-1])
    assert re.fullmatch(r"Compact 4x, 0\.62 M\nfloat32 on \w+", texts(result.events, "model")[-1])


def test_a_batch_says_frame_time_and_what_was_reused(comfy: ComfyServer, slow_model: str) -> None:
    prompt = wf.ours(slow_model, wf.send(comfy, wf.crop(96, 96), "batch.png"))
    prompt["batch"] = wf.node("RepeatImageBatch", image=("picture", 0), amount=6)
    prompt["upscaled"] = wf.our_upscale("model", "batch", reuse_frames=False)
    seen = texts(comfy.run(prompt).events, "upscaled")
    assert seen[0] == "frame 1 of 6"
    assert any(re.fullmatch(r"frame [2-6] of 6\nabout [\d.]+ s left", text) for text in seen), seen
    assert re.fullmatch(r"6 frames in [\d.]+ s", seen[-1])
    prompt["upscaled"] = wf.our_upscale("model", "batch")
    again = texts(comfy.run(prompt).events, "upscaled")
    assert re.fullmatch(r"6 frames in [\d.]+ s, 83 % reused", again[-1])


def test_a_page_with_our_script_gets_events_in_its_language_and_no_text_of_the_host(comfy: ComfyServer) -> None:
    for language, word in (("en", "in"), ("xx", "in"), ("ja", None)):
        picture = wf.send(comfy, wf.crop(20, 20, left=len(word or "")), f"page_{language}.png")
        events = comfy.run(wf.ours(wf.BUNDLED, picture), language=language).events
        assert not [event for event in events if event["type"] == "progress_text"]
        last = [event["data"] for event in events if event["type"] == "apisr.status"][-1]
        assert (last["node"], last["state"]) == ("upscaled", "done")
        assert (f"80 x 80 {word} " in last["text"]) == (word is not None)


def test_errors_stand_on_the_node_in_two_short_lines(comfy: ComfyServer) -> None:
    picture = wf.send(comfy, wf.crop(16, 16), "errors.png")
    (comfy.models_dir / "broken.pth").write_bytes(b"\x80\x02broken")
    missing = "4x_APISR_DAT_GAN_generator.pth"
    wrong_size = wf.ours(wf.BUNDLED, picture, **wf.resize_to("factor", factor=("n", 0)))
    wrong_size["n"] = wf.node("TestingAnything", what="NaN")
    cases: list[tuple[wf.Prompt, str, str]] = [
        (wf.ours(missing, picture), "model", "DAT 4x is not here"),
        (wf.ours("broken.pth", picture), "model", "Damaged file: broken.pth"),
        (wrong_size, "upscaled", "resize_to.factor is nan"),
    ]
    for prompt, node, words in cases:
        text = failed(comfy, prompt, node)
        assert words in text.replace("\n", " ")
        assert len(text.splitlines()) <= 2
        assert max(map(len, text.splitlines())) <= LINE


def test_an_error_after_a_good_run_replaces_its_text(comfy: ComfyServer) -> None:
    picture = wf.send(comfy, wf.crop(16, 18), "replaced.png")
    prompt = wf.ours(wf.BUNDLED, picture)
    comfy.run(prompt)
    prompt["scarce"] = wf.node("TestingScarceMemory", upscale_model=("model", 0), limit=10)
    prompt["upscaled"] = wf.our_upscale("scarce", "picture")
    assert failed(comfy, prompt, "upscaled", "en") == "Out of memory"


def test_a_cancelled_batch_goes_on_from_its_finished_frames(comfy: ComfyServer, slow_model: str) -> None:
    prompt = wf.ours(slow_model, wf.send(comfy, wf.crop(64, 64), "resume.png"))
    prompt["batch"] = wf.node("RepeatImageBatch", image=("picture", 0), amount=12)
    prompt["upscaled"] = wf.our_upscale("model", "batch", reuse_frames=False)
    expected = wf.by_reference(reference.rrdb()[0].eval(), wf.crop(64, 64))
    events = stop_at(comfy, prompt, 4.2 / 12)
    stopped = re.fullmatch(r"Stopped at frame (\d+) of 12\.\nRun goes on from there\.", texts(events, "upscaled")[-1])
    assert stopped
    done = int(stopped[1])
    assert done >= 4

    result = comfy.run(prompt)
    progress = [event["data"] for event in result.events if event["type"] == "progress"]
    first = next(data["value"] / data["max"] for data in progress if data["node"] == "upscaled")
    assert first >= done / 12 - 0.001
    frames = wf.saved(comfy, result)
    assert len(frames) == 12
    assert max(wf.steps_apart(frame, expected) for frame in frames) <= 2


def test_what_was_kept_is_not_used_for_other_settings(comfy: ComfyServer, slow_model: str) -> None:
    prompt = wf.ours(slow_model, wf.send(comfy, wf.crop(64, 64, left=20), "other.png"))
    prompt["batch"] = wf.node("RepeatImageBatch", image=("picture", 0), amount=6)
    prompt["upscaled"] = wf.our_upscale("model", "batch", reuse_frames=False)
    stop_at(comfy, prompt, 2.2 / 6)
    prompt["upscaled"] = wf.our_upscale("model", "batch", reuse_frames=False, **wf.resize_to("factor", factor=2.0))
    result = comfy.run(prompt)
    assert texts(result.events, "upscaled")[0] == "frame 1 of 6"
    assert {frame.shape for frame in wf.saved(comfy, result)} == {(128, 128, 3)}


def test_previews_fill_in_while_tiles_are_computed(comfy: ComfyServer, slow_model: str) -> None:
    picture = wf.crop(200, 200, top=0, left=0)
    prompt: Any = wf.ours(slow_model, wf.send(comfy, picture, "tiles.png"), tile_size=160)
    result = comfy.run(prompt)
    previews = [event["data"]["file"] for event in result.events if event["type"] == "preview"]
    assert len(previews) >= 2
    first, last = (
        np.asarray(Image.open(io.BytesIO(file)).convert("RGB").resize((100, 100)))
        for file in (previews[0], previews[-1])
    )
    (final,) = wf.saved(comfy, result)
    wanted = np.asarray(Image.fromarray(final).resize((100, 100)))
    differences = [np.abs(seen.astype(int) - wanted).mean(axis=(1, 2)) for seen in (first, last)]
    assert differences[1].mean() < differences[0].mean(), "more of the result is there"


def test_what_was_kept_is_not_used_without_its_mask(comfy: ComfyServer, slow_model: str) -> None:
    """The mask is gone from the cache by then."""
    picture = wf.send(comfy, wf.crop(64, 64, left=40), "unmasked.png")
    prompt = wf.ours(slow_model, picture)
    prompt["batch"] = wf.node("RepeatImageBatch", image=("picture", 0), amount=6)
    prompt["mask"] = wf.node("SolidMask", value=0.5, width=64, height=64)
    prompt["upscaled"] = wf.our_upscale("model", "batch", reuse_frames=False, mask=("mask", 0))
    stop_at(comfy, prompt, 2.2 / 6)
    del prompt["mask"]
    prompt["upscaled"] = wf.our_upscale("model", "batch", reuse_frames=False)
    result = comfy.run(prompt)
    assert texts(result.events, "upscaled")[0] == "frame 1 of 6"
    assert {frame.shape for frame in wf.saved(comfy, result)} == {(256, 256, 3)}


def test_a_warning_stays_as_the_second_line(comfy: ComfyServer) -> None:
    prompt = wf.ours(wf.BUNDLED, "")
    prompt["picture"] = wf.node("TestingAnything", what="a picture with NaN")
    first, *more = texts(comfy.run(prompt).events, "upscaled")[-1].split("\n")
    assert re.fullmatch(r"80 x 80 in [\d.]+ s", first)
    assert " ".join(more).startswith("Picture 1 of 1 has pixels")
