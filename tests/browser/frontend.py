"""What the tests of this folder do with the frontend: open a workflow, press Run, read what would run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "example_workflows"
WORKFLOW: dict[str, Any] = json.loads((EXAMPLES / "apisr_upscale.json").read_text(encoding="utf-8"))

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
