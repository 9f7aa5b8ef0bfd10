"""Workflows of two earlier APISR packs open, their nodes are replaced in the UI, and they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from apisr_pack.tests import reference
from apisr_pack.tests.browser.frontend import prompt, run
from apisr_pack.tests.comfy import workflows as wf
from PIL import Image
from playwright.sync_api import Page

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer


Slots = list[tuple[str, str, int]]


def node(number: int, kind: str, inputs: Slots, outputs: list[tuple[str, list[int]]], *values: Any) -> dict[str, Any]:
    """A node as a workflow file has it."""
    return {
        "id": number,
        "type": kind,
        "pos": [60 + 340 * number, 200],
        "size": [300, 200],
        "flags": {},
        "order": number,
        "mode": 0,
        "inputs": [{"name": name, "type": type_, "link": link} for name, type_, link in inputs],
        "outputs": [{"name": name, "type": name, "links": links, "slot_index": 0} for name, links in outputs],
        "properties": {"Node name for S&R": kind},
        "widgets_values": list(values),
    }


def workflow(nodes: list[dict[str, Any]], links: list[list[Any]]) -> dict[str, Any]:
    last = max(each["id"] for each in nodes)
    shell = {"last_node_id": last, "last_link_id": len(links), "groups": [], "config": {}, "extra": {}, "version": 0.4}
    return {**shell, "nodes": nodes, "links": links}


KIJAI = workflow(
    [
        node(1, "LoadImage", [], [("IMAGE", [1]), ("MASK", [])], "earlier.png", "image"),
        node(2, "APISR_upscale", [("images", "IMAGE", 1)], [("IMAGE", [2])], "earlier.pth", 16, "fp16"),
        node(3, "PreviewImage", [("images", "IMAGE", 2)], []),
    ],
    [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
)


def zho(upscaler: str) -> dict[str, Any]:
    """With either of its two nodes, which differ in how they go through a batch."""
    takes = [("pipe", "APISRMODEL", 2), ("image", "IMAGE", 1)]
    return workflow(
        [
            node(1, "LoadImage", [], [("IMAGE", [1]), ("MASK", [])], "earlier.png", "image"),
            node(2, "APISR_ModelLoader_Zho", [], [("APISRMODEL", [2])], "earlier.pth"),
            node(3, upscaler, takes, [("IMAGE", [3])], True, "float16"),
            node(4, "PreviewImage", [("images", "IMAGE", 3)], []),
        ],
        [[1, 1, 0, 3, 1, "IMAGE"], [2, 2, 0, 3, 0, "APISRMODEL"], [3, 3, 0, 4, 0, "IMAGE"]],
    )


@pytest.mark.parametrize(
    ("old", "folder", "ours"),
    [
        (KIJAI, "upscale_models", ["APISRQuickUpscale"]),
        (zho("APISR_Zho"), "apisr", ["APISRModelLoader", "APISRUpscale"]),
        (zho("APISR_Lterative_Zho"), "apisr", ["APISRModelLoader", "APISRUpscale"]),
    ],
    ids=["KJ", "ZHO", "ZHO iterative"],
)
def test_nodes_are_replaced_and_run(
    page: Page,
    browser_server: ComfyServer,
    old: dict[str, Any],
    folder: str,
    ours: list[str],
    page_problems: list[str],
) -> None:
    """With a model file in the folder where that pack looked for it."""
    model = browser_server.base / "models" / folder / "earlier.pth"
    model.parent.mkdir(parents=True, exist_ok=True)
    module = reference.perturbed(reference.compact(), seed=12)
    wf.write_official(model, reference.official_state_dict(module))
    picture = wf.crop(20, 30)
    wf.send(browser_server, picture, "earlier.png")
    try:
        page.evaluate("() => window.app.refreshComboInNodes()")
        page.evaluate("workflow => window.app.loadGraphData(workflow)", old)
        page.get_by_test_id("error-overlay-see-errors").click()
        page.get_by_role("button", name="Replace All").first.click()
        page.wait_for_function("() => !window.app.graph.nodes.some(node => node.type.startsWith('APISR_'))")
        types = page.evaluate("() => window.app.graph.nodes.map(node => node.type)")
        assert sorted(types) == sorted(["LoadImage", *ours, "PreviewImage"])
        assert [node["inputs"]["model_name"] for node in prompt(page).values() if "model_name" in node["inputs"]] == [
            "earlier.pth"
        ]
        assert run(page) == "execution_success"
    finally:
        model.unlink()
    assert wf.steps_apart(previewed(page, browser_server), wf.by_reference(module, picture)) <= 1
    assert not page_problems


def previewed(page: Page, server: ComfyServer) -> np.ndarray:
    """What the graph's only "Preview Image" shows."""
    preview = "window.app.graph.nodes.find(node => node.type === 'PreviewImage').id"
    (file,) = page.evaluate(f"() => window.app.nodeOutputs[{preview}].images")
    return np.asarray(Image.open(server.base / "temp" / file["filename"]))
