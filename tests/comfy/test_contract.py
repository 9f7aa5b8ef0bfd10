"""What shared workflows and scripts depend on: node ids, inputs, their order, types and defaults. Append only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

CONTRACT: dict[str, Any] = json.loads((Path(__file__).parent / "nodes.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("node", CONTRACT)
def test_inputs_and_outputs_are_those_that_workflows_know(comfy: ComfyServer, node: str) -> None:
    """A new input goes to the end of nodes.json, is optional, and its default gives the old result."""
    info = comfy.get_json(f"/object_info/{node}")[node]
    inputs = [
        [name, kind, options.get("default"), needed == "required"]
        for needed in ("required", "optional")
        for name, (kind, options) in info["input"].get(needed, {}).items()
    ]
    assert inputs == CONTRACT[node]["inputs"]
    assert info["output"] == CONTRACT[node]["outputs"]
    assert info["display_name"] == CONTRACT[node]["display_name"]
    for group in ("required", "optional"):  # there are hidden ones too
        assert all(options["tooltip"] for _, options in info["input"].get(group, {}).values())


def test_no_node_is_missing_from_the_contract(comfy: ComfyServer) -> None:
    assert {name for name in comfy.get_json("/object_info") if name.startswith("APISR")} == set(CONTRACT)


def test_optional_inputs_may_be_left_out(comfy: ComfyServer) -> None:
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, wf.crop(20, 30), "short.png"))
    full = wf.run(comfy, prompt)
    for node, kept in (("model", {"model_name"}), ("upscaled", {"upscale_model", "image"})):
        prompt[node]["inputs"] = {name: value for name, value in prompt[node]["inputs"].items() if name in kept}
    assert (wf.run(comfy, prompt) == full).all()


def test_a_result_that_cannot_fit_is_refused_before_it_is_computed(comfy: ComfyServer) -> None:
    prompt = wf.ours(wf.BUNDLED, wf.send(comfy, wf.crop(16, 16), "huge.png"), resize_to="factor", amount=4000.0)
    with pytest.raises(ExecutionFailed) as caught:
        comfy.run(prompt)
    message = caught.value.details["exception_message"]
    for word in ("1 x 64000x64000 pixels", "GB are free", "smaller size"):
        assert word in message
