"""Our nodes, blueprints and templates are found, open without anything missing, and run."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from apisr_pack.tests.browser.frontend import EXAMPLES, open_workflow, run
from apisr_pack.tests.comfy import workflows as wf
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.json"))
WORDS = ("anime", "esrgan", "real-esrgan", "waifu2x", "2x", "4x", "hires", "sprite")
WORDS_OF_OTHER_LANGUAGES = ("アニメ", "拡大", "放大", "超分")
RUN_BY_THEMSELVES = [name for name in NAMES if "diffusion" not in name]  # that one needs a checkpoint


def found(page: Page, word: str) -> list[str]:
    """Names of what the search of nodes finds for a word, best first."""
    if not page.locator("input:focus").count():
        page.mouse.dblclick(700, 500)
    box = page.get_by_placeholder("Add a node...")
    box.fill(word)
    page.wait_for_timeout(700)
    return [text.split("\n")[0] for text in page.locator("[role=option]").all_inner_texts()]


def test_words_that_people_search_with_find_us_first(page: Page) -> None:
    """For upscale, enlarge and video the host prefers its own nodes by its figures on their use."""
    page.evaluate("() => window.app.graph.clear()")
    for word in WORDS + WORDS_OF_OTHER_LANGUAGES:
        assert any("APISR" in name for name in found(page, word)[:3]), word
    assert found(page, "anime")[0] == "Anime Upscale (APISR)"
    assert found(page, "hires")[0] == "Hires fix (APISR)"
    assert any("APISR" in name for name in found(page, "upscale")[:8])


def test_the_blueprint_is_placed_and_runs(
    renderer: str, page: Page, browser_server: ComfyServer, page_problems: list[str]
) -> None:
    name = wf.send(browser_server, wf.crop(24, 30, left=renderer == "vue"), f"blueprint {renderer}.png")
    page.evaluate("() => window.app.refreshComboInNodes()")
    page.evaluate("() => window.app.graph.clear()")
    assert found(page, "anime")
    page.locator("[role=option]").first.click()
    page.mouse.click(700, 300)
    page.wait_for_function("() => window.app.graph.nodes.length === 1")
    widgets = page.evaluate("() => window.app.graph.nodes[0].widgets.map(widget => [widget.name, widget.value])")
    assert widgets == [["model_name", wf.BUNDLED], ["resize_to.factor", 2], ["multiple_of", 1]]
    page.evaluate(
        """name => {
        const graph = window.app.graph, blueprint = graph.nodes[0];
        const [load, save] = ["LoadImage", "PreviewImage"].map(type => LiteGraph.createNode(type));
        graph.add(load), graph.add(save);
        load.widgets[0].value = name;
        load.connect(0, blueprint, 0), blueprint.connect(0, save, 0);
        blueprint.widgets[1].value = 3;
    }""",
        name,
    )
    assert run(page) == "execution_success"
    preview = "window.app.graph.nodes.find(node => node.type === 'PreviewImage').id"
    (file,) = page.evaluate(f"() => window.app.nodeOutputs[{preview}].images")
    shown = (browser_server.base / "temp" / file["filename"]).read_bytes()
    assert (int.from_bytes(shown[16:20]), int.from_bytes(shown[20:24])) == (90, 72), "a PNG's width and height"
    assert not page_problems


@pytest.mark.parametrize("name", NAMES)
def test_templates_open_on_a_fresh_installation(
    page: Page, browser_server: ComfyServer, name: str, page_problems: list[str]
) -> None:
    """No node and no file is missing: the demo files are supplied when a workflow that names them is opened."""
    for path in (browser_server.base / "input").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    workflow: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    workflow["extra"].pop("linearMode", None)  # an app hides the graph; it has a test of its own
    open_workflow(page, workflow)
    types = {node["type"] for node in workflow["nodes"]} - {"MarkdownNote"}
    assert types <= set(page.evaluate("() => Object.keys(window.LiteGraph.registered_node_types)"))
    if name in RUN_BY_THEMSELVES:
        expect(page.get_by_test_id("error-overlay")).to_have_count(0)
    if name in RUN_BY_THEMSELVES:
        assert run(page) == "execution_success"
    assert not page_problems


def test_the_app_opens_as_one(page: Page, page_problems: list[str]) -> None:
    workflow = json.loads((EXAMPLES / "Anime upscale as an app.json").read_text(encoding="utf-8"))
    page.evaluate("workflow => window.app.loadGraphData(workflow)", workflow)
    for label in ("model_name", "resize_to"):
        expect(page.get_by_text(label).first).to_be_visible()
    expect(page.get_by_role("button", name="Run").first).to_be_visible()
    assert not page_problems


def test_templates_are_offered_by_their_titles(browser_server: ComfyServer) -> None:
    offered = browser_server.get_json("/workflow_templates")
    assert [sorted(names) for folder, names in offered.items() if "APISR" in folder] == [NAMES]
