"""APISR Quick Upscale, Compare Before and After, Compare Models, and the nodes of earlier packs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed
from PIL import Image

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer


def quick(picture: str, model_name: str = wf.BUNDLED, **changes: Any) -> wf.Prompt:
    return {
        "picture": wf.load_image(picture),
        "upscaled": wf.node("APISRQuickUpscale", model_name=model_name, image=("picture", 0), **changes),
        "saved": wf.save("upscaled"),
    }


@pytest.mark.parametrize("size", [{}, wf.resize_to("factor", factor=1.5), wf.resize_to("longer side", pixels=99)])
def test_quick_gives_what_the_two_nodes_give(comfy: ComfyServer, size: dict[str, Any]) -> None:
    picture = wf.send(comfy, wf.crop(22, 30), "quick.png")
    by_two = wf.run(comfy, wf.ours("", picture, loader=wf.our_loader(wf.BUNDLED, precision="auto"), **size))
    assert wf.steps_apart(wf.run(comfy, quick(picture, **size)), by_two) == 0


def test_quick_takes_a_mask_and_a_multiple(comfy: ComfyServer) -> None:
    rgba = np.dstack([wf.crop(20, 26), np.tile(np.arange(26, dtype=np.uint8) * 9, (20, 1))])
    prompt = quick(wf.send(comfy, rgba, "quick_mask.png"), mask=("picture", 1), multiple_of=16)
    assert wf.run(comfy, prompt).shape == (80, 112, 4)


def test_quick_sees_a_replaced_file(comfy: ComfyServer) -> None:
    picture = wf.send(comfy, wf.crop(18, 18), "quick_changed.png")
    results = []
    for seed in (21, 22):
        wf.write_compact(comfy.models_dir / "changing.pth", seed=seed)
        results.append(wf.run(comfy, quick(picture, "changing.pth")))
    assert wf.steps_apart(*results) > 8


def test_quick_says_what_is_missing(comfy: ComfyServer) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        comfy.run(quick(wf.send(comfy, wf.crop(16, 16), "quick_gone.png"), "gone.pth"))
    assert "There is no model 'gone.pth'" in caught.value.details["exception_message"]


def test_compare_keeps_both_pictures(comfy: ComfyServer) -> None:
    prompt = quick(wf.send(comfy, wf.crop(16, 24), "compared.png"))
    prompt["compared"] = wf.node("APISRCompare", before=("picture", 0), after=("upscaled", 0))
    shown = comfy.run(prompt).outputs["compared"]
    for name, size in (("apisr_before", (24, 16)), ("apisr_after", (96, 64))):
        (file,) = shown[name]
        seen = requests.get(f"{comfy.address}/view", params=file, timeout=30).content
        assert Image.open(io.BytesIO(seen)).size == size


@pytest.mark.parametrize("what", ["grey", "empty"])
def test_compare_takes_grey_pictures_and_refuses_none(comfy: ComfyServer, what: str) -> None:
    prompt = quick(wf.send(comfy, wf.crop(16, 24), "grey.png"))
    prompt["other"] = wf.node("TestingNoFrames") if what == "empty" else wf.node("TestingAnything", what="grey")
    prompt["compared"] = wf.node("APISRCompare", before=("other", 0), after=("upscaled", 0))
    if what == "grey":
        assert len(comfy.run(prompt).outputs["compared"]["apisr_before"]) == 2
        return
    with pytest.raises(ExecutionFailed) as caught:
        comfy.run(prompt)
    assert caught.value.details["exception_message"].startswith("before is empty")


def test_a_sheet_has_a_cell_for_each_model_that_is_there(comfy: ComfyServer) -> None:
    for path in comfy.models_dir.iterdir():
        if path.is_file() or path.is_symlink():
            path.unlink()
    wf.write_compact(comfy.models_dir / "aaa.pth", seed=11)
    (comfy.models_dir / "zzz broken.pth").write_bytes(b"\x80\x02broken")
    picture = wf.send(comfy, wf.crop(100, 140), "sheet.png")
    prompt = {
        "picture": wf.load_image(picture),
        "sheet": wf.node("APISRContactSheet", image=("picture", 0), crop_size=32, place="centre"),
        "saved": wf.save("sheet"),
    }
    sheet = wf.run(comfy, prompt)
    assert sheet.shape == (8 + 564, 4 * 520 + 8, 3), "input, bundled, aaa, broken"
    cells = [sheet[8:520, 8 + 520 * i : 520 + 520 * i] for i in range(4)]
    piece = wf.crop(100, 140)[34:66, 54:86]
    alone = wf.run(comfy, quick(wf.send(comfy, piece, "piece.png"), **wf.resize_to("longer side", pixels=512)))
    assert np.abs(cells[1][16:-16, 16:-16].astype(int) - alone[16:-16, 16:-16]).mean() < 8, "two passes, but alike"
    assert np.std(cells[0]) > 10
    assert np.std(cells[3]) == 0
    assert "zzz broken.pth is left out of the sheet" in comfy.log_text
    wf.write_compact(comfy.models_dir / "bbb new.pth", seed=13)
    assert wf.run(comfy, prompt).shape == (8 + 2 * 564, 4 * 520 + 8, 3), "the new model is seen"


def test_a_sheet_of_a_narrow_picture_keeps_its_shape(comfy: ComfyServer) -> None:
    """The piece of most detail is looked for: here it is in the lower half."""
    picture = np.full((300, 40, 3), 128, np.uint8)
    picture[200:] = wf.crop(100, 40)
    sheet_of = wf.node("APISRContactSheet", image=("picture", 0), crop_size=80, place="most detail", most_models=1)
    sheet = wf.run(
        comfy,
        {
            "picture": wf.load_image(wf.send(comfy, picture, "narrow.png")),
            "sheet": sheet_of,
            "saved": wf.save("sheet"),
        },
    )
    original = sheet[8:520, 8:520].astype(int)
    assert np.std(original[:, :120]) == 0, "nothing beside it"
    assert np.std(original[:, 132:380]) > 20, "80 x 40 pixels of the detailed half"


def test_nodes_of_earlier_packs_run_as_ours(comfy: ComfyServer) -> None:
    """ComfyUI replaces them in prompts too, since those packs are not installed here."""
    wf.write_compact(comfy.models_dir / "old.pth", seed=12)
    picture = wf.send(comfy, wf.crop(16, 24), "earlier.png")
    expected = wf.run(comfy, quick(picture, "old.pth"))
    kijai: wf.Prompt = {
        "picture": wf.load_image(picture),
        "upscaled": wf.node("APISR_upscale", ckpt_name="old.pth", images=("picture", 0), per_batch=16, dtype="fp16"),
        "saved": wf.save("upscaled"),
    }
    assert wf.steps_apart(wf.run(comfy, kijai), expected) == 0
    for old in ("APISR_Zho", "APISR_Lterative_Zho"):
        zho: wf.Prompt = {
            "picture": wf.load_image(picture),
            "model": wf.node("APISR_ModelLoader_Zho", apisr_model="old.pth"),
            "upscaled": wf.node(old, pipe=("model", 0), image=("picture", 0), crop_for_4x=True, dtype="float16"),
            "saved": wf.save("upscaled"),
        }
        assert wf.steps_apart(wf.run(comfy, zho), expected) == 0
