"""What shared workflows and scripts depend on: node ids, inputs, their order, types and defaults. Append only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from apisr_pack.engine import RESIZE_MODES
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

CONTRACT: dict[str, Any] = json.loads((Path(__file__).parent / "nodes.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("node", CONTRACT)
def test_inputs_and_outputs_are_those_that_workflows_know(comfy: ComfyServer, node: str) -> None:
    """A new input goes to the end of nodes.json, is optional, and its default gives the old result."""
    info = comfy.get_json(f"/object_info/{node}")[node]
    assert _described(info["input"]) == CONTRACT[node]["inputs"]
    assert info["output"] == CONTRACT[node]["outputs"]
    assert info["display_name"] == CONTRACT[node]["display_name"]
    assert {
        name: {choice["key"]: _described(choice["inputs"]) for choice in options["options"]}
        for name, (kind, options) in info["input"].get("optional", {}).items()
        if kind == "COMFY_DYNAMICCOMBO_V3"
    } == CONTRACT[node]["choices"]


def _described(inputs: dict[str, Any]) -> list[list[Any]]:
    """Name, type, default and whether it is required, of each input; there are hidden ones too."""
    described = []
    for needed in ("required", "optional"):
        for name, (kind, options) in inputs.get(needed, {}).items():
            assert options["tooltip"], name
            described.append([name, kind, options.get("default"), needed == "required"])
    return described


def test_choices_of_the_size_are_those_of_the_engine() -> None:
    assert tuple(CONTRACT["APISRUpscale"]["choices"]["resize_to"]) == RESIZE_MODES


def test_no_node_is_missing_from_the_contract(comfy: ComfyServer) -> None:
    assert {name for name in comfy.get_json("/object_info") if name.startswith("APISR")} == set(CONTRACT)


def test_optional_inputs_may_be_left_out(comfy: ComfyServer) -> None:
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, wf.crop(20, 30), "short.png"))
    full = wf.run(comfy, prompt)
    for node, kept in (("model", {"model_name"}), ("upscaled", {"upscale_model", "image"})):
        prompt[node]["inputs"] = {name: value for name, value in prompt[node]["inputs"].items() if name in kept}
    assert (wf.run(comfy, prompt) == full).all()


def test_a_result_that_cannot_fit_is_refused_before_it_is_computed(comfy: ComfyServer) -> None:
    size = wf.resize_to("longer side", pixels=("pixels", 0))
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, wf.crop(16, 16), "huge.png"), **size)
    prompt["pixels"] = wf.node("PrimitiveInt", value=64000)  # linked numbers are not held to the widget's limits
    with pytest.raises(ExecutionFailed) as caught:
        comfy.run(prompt)
    message = caught.value.details["exception_message"]
    for word in ("1 x 64000x64000 pixels", "GB are free", "smaller size"):
        assert word in message
