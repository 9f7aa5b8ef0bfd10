"""Each architecture of the zoo, from a file in the official format, through our nodes and through core's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from apisr_pack.tests import reference
from apisr_pack.tests.comfy import workflows as wf
from torch import nn

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

SCALES = {stem: 2 if stem.startswith("2x") else 4 for stem in reference.ZOO}
CORE_GETS_IT_WRONG = "4x_APISR_GRL_GAN_generator"


@pytest.fixture(scope="module")
def modules(comfy: ComfyServer) -> dict[str, nn.Module]:
    """The reference modules by name; their weights lie in the server's folder of upscale models."""
    found = {}
    for stem, build in reference.ZOO.items():
        found[stem], weights = build()
        wf.write_official(comfy.models_dir / f"{stem}.pth", weights)
    return found


def all_routes(stem: str, picture: str) -> wf.Prompt:
    """Both loaders into both upscale nodes in one workflow, but for core's into core's."""
    return {
        "picture": wf.load_image(picture),
        "our_model": wf.our_loader(f"{stem}.pth"),
        "core_model": wf.core_loader(f"{stem}.pth"),
        "ours_ours": wf.our_upscale("our_model", "picture"),
        "ours_core": wf.core_upscale("our_model", "picture"),
        "core_ours": wf.our_upscale("core_model", "picture"),
        **{f"saved_{route}": wf.save(route) for route in ("ours_ours", "ours_core", "core_ours")},
    }


@pytest.mark.parametrize("stem", reference.ZOO)
def test_every_route_gives_the_picture_of_the_reference(
    comfy: ComfyServer, modules: dict[str, nn.Module], stem: str
) -> None:
    crop = wf.crop(16, 32)
    expected = wf.by_reference(modules[stem], crop)
    assert np.std(expected) > 20, "the random weights give no picture to compare"
    result = comfy.run(all_routes(stem, wf.send(comfy, crop, f"{stem}.png")))

    (ours_ours,) = wf.saved(comfy, result, "saved_ours_ours")
    (ours_core,) = wf.saved(comfy, result, "saved_ours_core")
    (core_ours,) = wf.saved(comfy, result, "saved_core_ours")
    assert ours_ours.shape == (16 * SCALES[stem], 32 * SCALES[stem], 3)
    assert wf.steps_apart(ours_ours, expected) <= 1
    assert wf.steps_apart(ours_core, expected) <= 1
    if stem == CORE_GETS_IT_WRONG:  # it shifts the stripes; if this fails, core has learnt not to
        assert wf.steps_apart(core_ours, expected) > 8
        warned = {
            event["data"]["node"]
            for event in result.events
            if event["type"] == "progress_text"
            and re.match(r'.+ in .+ s\nUse "Load APISR Model"', event["data"]["text"])
        }
        assert warned == {"core_ours"}, "on the node, and still there when it says how long it took"
        assert 'Use "Load APISR Model" for this GRL' in comfy.log_text
    else:
        assert wf.steps_apart(core_ours, expected) <= 1


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("stem", reference.ZOO)
def test_odd_sizes_agree_in_both_nodes(comfy: ComfyServer, stem: str) -> None:
    prompt = wf.ours(f"{stem}.pth", wf.send(comfy, wf.crop(13, 27), f"odd_{stem}.png"))
    prompt |= {"core": wf.core_upscale("model", "picture"), "saved_core": wf.save("core")}
    result = comfy.run(prompt)

    (by_ours,) = wf.saved(comfy, result)
    (by_core,) = wf.saved(comfy, result, "saved_core")
    assert by_ours.shape == (13 * SCALES[stem], 27 * SCALES[stem], 3)
    assert np.std(by_ours) > 20
    assert wf.steps_apart(by_ours, by_core) <= 1
