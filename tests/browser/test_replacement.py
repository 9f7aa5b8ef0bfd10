"""Workflows of two earlier APISR packs open, their nodes are replaced in the UI, and they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from apisr_pack.tests.browser.frontend import run
from apisr_pack.tests.comfy import workflows as wf
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
ZHO = workflow(
    [
        node(1, "LoadImage", [], [("IMAGE", [1]), ("MASK", [])], "earlier.png", "image"),
        node(2, "APISR_ModelLoader_Zho", [], [("APISRMODEL", [2])], "earlier.pth"),
        node(
            3,
            "APISR_Zho",
            [("pipe", "APISRMODEL", 2), ("image", "IMAGE", 1)],
            [("IMAGE", [3])],
            True,
            "float16",
        ),
        node(4, "PreviewImage", [("images", "IMAGE", 3)], []),
    ],
    [[1, 1, 0, 3, 1, "IMAGE"], [2, 2, 0, 3, 0, "APISRMODEL"], [3, 3, 0, 4, 0, "IMAGE"]],
)


@pytest.mark.parametrize(
    ("old", "ours"),
    [(KIJAI, {"APISRQuickUpscale"}), (ZHO, {"APISRModelLoader", "APISRUpscale"})],
    ids=["KJ", "ZHO"],
)
def test_nodes_are_replaced_and_run(
    page: Page, browser_server: ComfyServer, old: dict[str, Any], ours: set[str], page_problems: list[str]
) -> None:
    folder = browser_server.base / "models" / "apisr"  # where ZHO's pack kept its models
    folder.mkdir(parents=True, exist_ok=True)
    wf.write_compact(folder / "earlier.pth", seed=12)
    wf.send(browser_server, wf.crop(20, 30, left=len(ours)), "earlier.png")
    page.evaluate("() => window.app.refreshComboInNodes()")
    page.evaluate("workflow => window.app.loadGraphData(workflow)", old)
    page.get_by_test_id("error-overlay-see-errors").click()
    page.get_by_role("button", name="Replace All").first.click()
    page.wait_for_timeout(1000)
    types = set(page.evaluate("() => window.app.graph.nodes.map(node => node.type)"))
    assert ours <= types
    names = page.evaluate(
        "() => window.app.graph.nodes.flatMap(node => node.widgets ?? []).filter(w => w.name === 'model_name')"
        ".map(widget => widget.value)"
    )
    assert names == ["earlier.pth"]
    assert run(page) == "execution_success"
    assert not page_problems
