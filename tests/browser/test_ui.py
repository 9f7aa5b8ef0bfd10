"""What a user of the frontend sees: the example workflow, its result, an error in our words, help and search.

Each test leaves screenshots in its temporary folder (`--basetemp` chooses where).
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import pytest
from apisr_pack.tests import ffprobe
from apisr_pack.tests.browser.frontend import EXAMPLES, FIRST, WORKFLOW, open_workflow, prompt, run
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.json"))
OURS = {
    "APISRModelLoader": ("Load APISR Model", FIRST),
    "APISRUpscale": ("Upscale Image (APISR)", FIRST),
    "APISRUpscaleVideo": ("Upscale Video (APISR)", "Video"),
    "APISRQuickUpscale": ("APISR Quick Upscale", "Anime upscale as an app"),
    "APISRCompare": ("Compare Before and After (APISR)", FIRST),
    "APISRContactSheet": ("Compare Models (APISR)", "Compare models"),
}
"""Name in the menu, and a workflow that has it."""

# The box for a missing node, model or picture, and for a failed run.
COMPLAINT = "error-overlay"
_SAVED = "() => window.app.graph.nodes.find(node => node.type === 'SaveImage').imgs?.length"
_SAVED_SIZES = """() => window.app.graph.nodes.find(node => node.type === "SaveImage").imgs
    .map(picture => [picture.naturalWidth, picture.naturalHeight])"""
_PLAYS = """() => [...document.querySelectorAll("video")].some(video => video.src.includes("type=output"))"""
_PIXELS_CUT_OFF = """page => Math.max(
    ...[...page.querySelectorAll("*")].map(part => part.getBoundingClientRect().right)
) - page.getBoundingClientRect().right"""
_SELECT = """type => {
    const canvas = window.app.canvas;
    canvas.deselectAll();
    canvas.selectNode(window.app.graph.nodes.find(node => node.type === type));
}"""


@pytest.fixture
def broken_model(browser_server: ComfyServer) -> Iterator[str]:
    """A file in the list of models that is none."""
    path = browser_server.models_dir / "broken.pth"
    path.write_bytes(b"<html>Sign in to download</html>")
    yield path.name
    path.unlink()


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _what_runs(prompt: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Class and inputs of each node of an API form. Beside these, frontends add what they like."""
    not_sent = ("video-preview", "upload")  # widgets of the frontend's own
    return {
        key: (node["class_type"], {name: value for name, value in node["inputs"].items() if name not in not_sent})
        for key, node in prompt.items()
    }


def _node(workflow: dict[str, Any], node_type: str) -> dict[str, Any]:
    return next(node for node in workflow["nodes"] if node["type"] == node_type)


def _with(workflow: dict[str, Any], node_type: str, **changes: Any) -> dict[str, Any]:
    """A copy of a workflow with entries of one node replaced."""
    changed = copy.deepcopy(workflow)
    _node(changed, node_type).update(changes)
    return changed


def _loader_with(model: str) -> dict[str, Any]:
    return _with(WORKFLOW, "APISRModelLoader", widgets_values=[model, "auto", True, "default"])


@pytest.mark.usefixtures("renderer")
def test_example_opens_without_complaint_and_runs(
    browser_server: ComfyServer, page: Page, page_problems: list[str], tmp_path: Path
) -> None:
    open_workflow(page, WORKFLOW)
    page.screenshot(path=tmp_path / "example.png")
    assert _what_runs(prompt(page)) == _what_runs(_read(EXAMPLES / "api" / f"{FIRST}.json"))
    expect(page.get_by_test_id(COMPLAINT)).to_have_count(0)
    browser_server.free()  # of the other renderer's results
    assert run(page) == "execution_success"
    page.wait_for_function(_SAVED)
    page.screenshot(path=tmp_path / "result.png")
    assert page.evaluate(_SAVED_SIZES) == [[4 * 384, 4 * 288]]
    assert page_problems == []


@pytest.mark.usefixtures("renderer")
@pytest.mark.parametrize("name", ["Video", "Frames of a batch"])
def test_example_of_a_video_opens_without_complaint_and_runs(
    browser_server: ComfyServer, page: Page, page_problems: list[str], tmp_path: Path, name: str
) -> None:
    workflow = _read(EXAMPLES / f"{name}.json")
    open_workflow(page, workflow)
    assert _what_runs(prompt(page)) == _what_runs(_read(EXAMPLES / "api" / f"{name}.json"))
    expect(page.get_by_test_id(COMPLAINT)).to_have_count(0)
    browser_server.free()
    saved = browser_server.base / "output" / "video"
    shutil.rmtree(saved, ignore_errors=True)
    assert run(page) == "execution_success"
    page.wait_for_function(_PLAYS)
    page.screenshot(path=tmp_path / "result.png")
    (result,) = saved.iterdir()
    assert len(ffprobe.frames(result)) == 24
    assert page_problems == []


def test_frontend_complains_of_what_is_missing_but_not_of_models_that_we_fetch(page: Page) -> None:
    unknown_node = _with(WORKFLOW, "APISRUpscale", type="APISRUpscaleOfLater")
    complaint = page.get_by_test_id(COMPLAINT)
    for entry in _node(WORKFLOW, "APISRModelLoader")["properties"]["models"]:
        open_workflow(page, _loader_with(entry["name"]))
        expect(complaint).to_have_count(0)
    # else its absence would say nothing
    open_workflow(page, _loader_with("my_own_model.pth"))
    expect(complaint).to_contain_text("my_own_model.pth")
    open_workflow(page, unknown_node)
    expect(complaint).to_contain_text("APISRUpscaleOfLater")


def test_error_panel_names_the_damaged_file_and_what_to_do(broken_model: str, page: Page, tmp_path: Path) -> None:
    open_workflow(page, _loader_with(broken_model))
    assert run(page) == "execution_error"
    expect(page.get_by_test_id(COMPLAINT)).to_contain_text("Load APISR Model failed")
    page.get_by_test_id("error-overlay-see-errors").click()
    panel = page.get_by_test_id("runtime-error-panel")
    expect(panel).to_contain_text(f"{broken_model} is a web page")
    expect(panel).to_contain_text("Download it again.")
    page.screenshot(path=tmp_path / "error.png")


@pytest.mark.parametrize("node_type", OURS)
def test_help_panel_shows_the_page_of_each_node(page: Page, tmp_path: Path, node_type: str) -> None:
    name, workflow = OURS[node_type]
    shown = _read(EXAMPLES / f"{workflow}.json")
    shown["extra"].pop("linearMode", None)  # an app hides its graph
    open_workflow(page, shown)
    page.evaluate(_SELECT, node_type)
    page.get_by_test_id("info-button").click()
    content = page.locator(".node-help-content")
    expect(content.get_by_role("heading", level=1)).to_have_text(name)
    expect(content.get_by_role("heading", name="Inputs")).to_be_visible()
    page.screenshot(path=tmp_path / f"{node_type}.png")
    assert content.evaluate(_PIXELS_CUT_OFF) < 1


@pytest.mark.parametrize("node_type", OURS)
def test_help_page_and_template_picture_are_served(browser_server: ComfyServer, node_type: str) -> None:
    node = browser_server.get_json(f"/object_info/{node_type}")[node_type]
    folder = node["python_module"].rpartition(".")[2]
    assert sorted(browser_server.get_json("/workflow_templates")[folder]) == NAMES
    get = build_opener(ProxyHandler({})).open
    with get(f"{browser_server.address}/extensions/{folder}/docs/{node_type}.md") as answer:
        page = answer.read().decode()
    for output in node["output"]:
        assert f"- **{output}**" in page
    for name in NAMES:
        with get(f"{browser_server.address}/api/workflow_templates/{folder}/{quote(name)}.jpg") as answer:
            assert answer.read() == (EXAMPLES / f"{name}.jpg").read_bytes()


def test_search_finds_the_upscale_node_by_what_people_call_it(page: Page, tmp_path: Path) -> None:
    page.evaluate("() => window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.get_by_role("dialog").get_by_role("combobox").fill("waifu")
    expect(page.get_by_test_id("result-item").filter(has_text="Upscale Image (APISR)")).to_be_visible()
    page.screenshot(path=tmp_path / "search.png")
