"""Our nodes, blueprints and templates are found, open without anything missing, and run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from apisr_pack.tests.browser.frontend import EXAMPLES, open_workflow, prompt, run
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tests.comfy.checkpoint import write_checkpoint
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.json"))
WORDS = ("anime", "esrgan", "real-esrgan", "waifu2x", "2x", "4x", "hires", "hi-res", "sprite")
PHRASES = ("upscale anime", "upscale video", "video upscale")
WORDS_OF_OTHER_LANGUAGES = ("アニメ", "拡大", "放大", "超分")
WORDS_IN_THEIR_LANGUAGE = {"ja": ("アニメ", "動画"), "zh": ("放大", "高清", "动漫")}
_TEXT_INSIDE = """text => window.apisrInner.widgets.find(widget => widget.name === "apisr_text")
    .element.textContent.startsWith(text)"""
CHECKPOINT = "random.ckpt"
RUN_BY_THEMSELVES = [name for name in NAMES if "diffusion" not in name]  # that one needs a checkpoint


def found(page: Page, word: str) -> list[str]:
    """Names of what the search of nodes finds for a word, best first."""
    box = page.locator("[role=combobox]:focus, input:focus")
    if not box.count():
        page.evaluate("() => window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    box.fill(word)
    page.wait_for_timeout(700)
    return [text.split("\n")[0] for text in page.locator("[role=option]").all_inner_texts()]


def place_first(page: Page, word: str) -> None:
    """Put what the search finds first for a word on an empty graph."""
    page.evaluate("() => window.app.refreshComboInNodes()")
    page.evaluate("() => window.app.graph.clear()")
    assert found(page, word)
    page.locator("[role=option]").first.click()
    page.mouse.click(700, 300)
    page.wait_for_function("() => window.app.graph.nodes.length === 1")


def test_words_that_people_search_with_find_us_first(page: Page) -> None:
    """For upscale, enlarge and video the host prefers its own nodes by its figures on their use."""
    page.evaluate("() => window.app.graph.clear()")
    for word in WORDS + PHRASES + WORDS_OF_OTHER_LANGUAGES:
        assert any("APISR" in name for name in found(page, word)[:3]), word
    assert found(page, "anime")[0] == "Anime Upscale (APISR)"
    assert found(page, "hires")[0] == "Hires fix (APISR)"
    assert any("APISR" in name for name in found(page, "upscale")[:8])


@pytest.mark.parametrize("language", WORDS_IN_THEIR_LANGUAGE)
def test_words_of_a_language_find_us_in_it(
    browser_server: ComfyServer, visit: Callable[..., Page], language: str
) -> None:
    """The host's nodes have titles of that language too, with the same words in them."""
    browser_server.post_json("/settings/Comfy.Locale", language)
    try:
        page = visit()
    finally:
        browser_server.post_json("/settings/Comfy.Locale", "en")
    page.evaluate("() => window.app.graph.clear()")
    for word in WORDS_IN_THEIR_LANGUAGE[language]:
        assert any("APISR" in name for name in found(page, word)[:3]), word


def test_the_blueprint_is_placed_and_runs(
    renderer: str, page: Page, browser_server: ComfyServer, page_problems: list[str]
) -> None:
    name = wf.send(browser_server, wf.crop(24, 30, left=renderer == "vue"), f"blueprint {renderer}.png")
    place_first(page, "anime")
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
        window.apisrInner = blueprint.subgraph.nodes.find(node => node.type === "APISRUpscale");
    }""",
        name,
    )
    page.wait_for_function(_TEXT_INSIDE, arg="90 x 72")  # from the picture and the number outside
    assert run(page) == "execution_success"
    assert preview_size(page, browser_server) == (90, 72)
    assert not page_problems


def test_the_hires_blueprint_refines_what_it_enlarged(
    page: Page, browser_server: ComfyServer, checkpoint: None, page_problems: list[str]
) -> None:
    name = wf.send(browser_server, wf.crop(56, 64), "hires.png")
    place_first(page, "hires")
    widgets = page.evaluate("() => window.app.graph.nodes[0].widgets.map(widget => widget.name)")
    assert widgets == ["model_name", "resize_to.factor", "denoise", "steps", "cfg", "seed"]
    page.evaluate(
        """name => {
        const graph = window.app.graph, blueprint = graph.nodes[0];
        const types = ["CheckpointLoaderSimple", "CLIPTextEncode", "CLIPTextEncode", "LoadImage", "PreviewImage"];
        const [models, good, bad, load, save] = types.map(type => graph.add(LiteGraph.createNode(type)));
        load.widgets[0].value = name;
        const join = (from, slot, input) => from.connect(slot, blueprint, blueprint.findInputSlot(input));
        models.connect(1, good, 0), models.connect(1, bad, 0);
        join(load, 0, "image"), join(models, 0, "model"), join(models, 2, "vae");
        join(good, 0, "positive"), join(bad, 0, "negative");
        blueprint.connect(0, save, 0);
        blueprint.widgets.find(widget => widget.name === "steps").value = 2;
    }""",
        name,
    )
    assert run(page) == "execution_success"
    assert preview_size(page, browser_server) == (96, 88), "56 x 1.5 is 84, and VAE Encode needs a multiple of 8"
    assert not page_problems


@pytest.fixture
def checkpoint(browser_server: ComfyServer) -> Iterator[None]:
    """A checkpoint of random weights, the only one, for as long as the test takes."""
    path = browser_server.base / "models" / "checkpoints" / CHECKPOINT
    write_checkpoint(path)
    yield
    path.unlink()


def preview_size(page: Page, server: ComfyServer) -> tuple[int, int]:
    """Width and height of the picture in the graph's only "Preview Image", from its PNG."""
    preview = "window.app.graph.nodes.find(node => node.type === 'PreviewImage').id"
    (file,) = page.evaluate(f"() => window.app.nodeOutputs[{preview}].images")
    shown = (server.base / "temp" / file["filename"]).read_bytes()
    return int.from_bytes(shown[16:20]), int.from_bytes(shown[20:24])


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
    expect(page.get_by_test_id("error-overlay")).to_have_count(0)
    if name in RUN_BY_THEMSELVES:
        assert run(page) == "execution_success"
    assert not page_problems


def test_the_hires_template_takes_the_checkpoint_that_is_there(
    page: Page, checkpoint: None, page_problems: list[str]
) -> None:
    page.evaluate("() => window.app.refreshComboInNodes()")
    page.evaluate("() => window.app.graph.clear()")
    (name,) = set(NAMES) - set(RUN_BY_THEMSELVES)
    open_workflow(page, json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8")))
    would_run = prompt(page)
    (loader,) = (node for node in would_run.values() if node["class_type"] == "CheckpointLoaderSimple")
    assert loader["inputs"]["ckpt_name"] == CHECKPOINT
    assert not page_problems


def test_no_node_of_a_template_covers_another(renderer: str, page: Page) -> None:
    """As each renderer makes them, which is higher than in the file."""
    for name in NAMES:
        workflow = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
        workflow["extra"].pop("linearMode", None)
        open_workflow(page, workflow)
        assert page.evaluate(COVERED) == [], name


COVERED = """() => {
    const boxes = window.app.graph.nodes.map(node => [node.type, ...node.boundingRect]);
    const meet = ([, x, y, width, height], [, x2, y2, width2, height2]) =>
        x < x2 + width2 && x2 < x + width && y < y2 + height2 && y2 < y + height;
    return boxes.flatMap((box, i) => boxes.slice(i + 1).filter(other => meet(box, other)).map(other => [box, other]));
}"""


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
