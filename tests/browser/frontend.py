"""What the tests of this folder do with the frontend: open a workflow, press Run, read what would run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "example_workflows"
FIRST = "Anime upscale, before and after"
WORKFLOW: dict[str, Any] = json.loads((EXAMPLES / f"{FIRST}.json").read_text(encoding="utf-8"))

_SHOWN = "count => window.app.graph.nodes.length === count"
_NOTE_END = """() => {
    window.apisrTestEnd = null;
    for (const type of ["execution_success", "execution_error"])
        window.app.api.addEventListener(type, event => { window.apisrTestEnd = type });
}"""


def open_workflow(page: Page, workflow: dict[str, Any]) -> None:
    """Show a workflow; returns when the frontend has checked it for what is missing."""
    page.evaluate("workflow => window.app.loadGraphData(workflow)", workflow)
    page.wait_for_function(_SHOWN, arg=len(workflow["nodes"]))
    page.wait_for_timeout(1500)  # the checks run afterwards and announce only what they find


def run(page: Page) -> str:
    """Press Run; returns "execution_success" or "execution_error"."""
    page.evaluate(_NOTE_END)
    page.get_by_test_id("queue-button").click()
    return page.wait_for_function("() => window.apisrTestEnd", timeout=60_000).json_value()


def prompt(page: Page) -> dict[str, Any]:
    """The open workflow in API format, as Run would send it."""
    return page.evaluate("async () => (await window.app.graphToPrompt()).output")


_ADD = """([types, links]) => {
    const nodes = (window.apisrNodes ??= {});
    Object.entries(types).forEach(([name, type], index) => {
        nodes[name] = LiteGraph.createNode(type);
        const place = window.app.graph.nodes.length;
        nodes[name].pos = [40 + 330 * (place % 4), 80 + 420 * Math.floor(place / 4)];
        window.app.graph.add(nodes[name]);
    });
    for (const [from, slot, to, input] of links)
        nodes[from].connect(slot, nodes[to], nodes[to].inputs.findIndex(each => each.name === input));
}"""
_CHANGE = """([name, values]) => {
    const node = window.apisrNodes[name];
    for (const [key, value] of Object.entries(values)) {
        const widget = node.widgets.find(each => each.name === key);
        widget.value = value;
        widget.callback?.(value, window.app.canvas, node);
    }
}"""


def add_nodes(page: Page, types: dict[str, str], links: list[tuple[str, int, str, str]]) -> None:
    """Add nodes, by a name for the test and their type, and connect (node, output, node, input).

    The first call on a page clears its graph.
    """
    if not page.evaluate("() => Boolean(window.apisrNodes)"):
        page.evaluate("() => { window.app.graph.clear(); window.app.graph.id = crypto.randomUUID() }")
    page.evaluate(_ADD, [types, links])


def changed(page: Page, name: str, **values: object) -> None:
    """Set widgets of a node of `add_nodes`, as a user would."""
    page.evaluate(_CHANGE, [name, values])


def text_of(page: Page, name: str) -> Locator:
    """Our text on a node of `add_nodes`."""
    ours = "window.apisrNodes[name].widgets.find(each => each.name === 'apisr_text').element"
    page.evaluate(f"name => {{ {ours}.dataset.test = name }}", name)
    return page.locator(f"[data-test={name}] [role=status]")
