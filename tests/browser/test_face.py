"""What stands on our nodes in the browser: estimates that follow the graph, results, errors, labels, downloads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.tests import reference
from apisr_pack.tests.browser.frontend import add_nodes, changed, run, text_of
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tests.unit import http_server
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

FIRST = zoo.ZOO[0]
NODES = {"load": "LoadImage", "model": "APISRModelLoader", "up": "APISRUpscale", "preview": "PreviewImage"}
LINKS = [("load", 0, "up", "image"), ("model", 0, "up", "upscale_model"), ("up", 0, "preview", "images")]


@pytest.fixture
def picture(browser_server: ComfyServer, renderer: str, page: Page) -> str:  # the renderer first: pages read it once
    """Our usual graph on the page, with a picture of 48 x 32 that no other test has used."""
    number = len(list((browser_server.base / "input").iterdir()))
    name = wf.send(browser_server, wf.crop(32, 48, left=number % 200), f"face {number}.png")
    page.evaluate("() => window.app.refreshComboInNodes()")
    add_nodes(page, NODES, LINKS)
    changed(page, "load", image=name)
    return name


def run_slow_batch(page: Page, server: ComfyServer, amount: int) -> None:
    """Press Run for that many pictures, each of which is computed."""
    _, weights = reference.rrdb()
    wf.write_official(server.models_dir / "slow.pth", weights)
    add_nodes(page, {"many": "RepeatImageBatch"}, [("load", 0, "many", "image"), ("many", 0, "up", "image")])
    changed(page, "many", amount=amount)
    changed(page, "model", model_name="slow.pth")
    changed(page, "up", reuse_frames=False)
    page.get_by_test_id("queue-button").click()


def reload(page: Page) -> None:
    """Reload the page; afterwards only the node "up" is known to `text_of`."""
    page.wait_for_timeout(1500)  # the frontend saves its draft
    page.reload()
    page.wait_for_function("() => window.app?.graph?.nodes?.some(node => node.type === 'APISRUpscale')", timeout=60_000)
    page.evaluate("() => { window.apisrNodes = {up: window.app.graph.nodes.find(n => n.type === 'APISRUpscale')} }")


@pytest.mark.usefixtures("picture")
def test_the_estimate_follows_widgets_and_links(page: Page, page_problems: list[str]) -> None:
    expect(text_of(page, "up")).to_contain_text("192 x 128")
    changed(page, "up", resize_to="factor")
    changed(page, "up", **{"resize_to.factor": 1.5, "multiple_of": 8})
    expect(text_of(page, "up")).to_contain_text("72 x 48")
    changed(page, "model", model_name="2x_APISR_RRDB_GAN_generator.pth")
    changed(page, "up", resize_to="model scale", multiple_of=1)
    expect(text_of(page, "up")).to_contain_text("96 x 64")
    page.evaluate("() => window.apisrNodes.up.disconnectInput(1)")
    expect(text_of(page, "up")).to_have_text("2x")
    page.evaluate("() => window.apisrNodes.up.disconnectInput(0)")
    expect(text_of(page, "up")).to_have_text("")
    assert not page_problems


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
@pytest.mark.usefixtures("picture")
def test_huge_and_wrong_sizes_are_said_before_running(page: Page) -> None:
    changed(page, "up", resize_to="longer side")
    changed(page, "up", **{"resize_to.pixels": 16384})
    expect(text_of(page, "up")).to_contain_text("16384 x 10923")
    expect(text_of(page, "up")).not_to_contain_text("huge")
    changed(page, "up", resize_to="factor")
    changed(page, "up", **{"resize_to.factor": 16})
    page.evaluate("() => { window.apisrNodes.up.widgets.find(w => w.name === 'resize_to.factor').value = 600 }")
    expect(text_of(page, "up")).to_contain_text("huge: 553 megapixels")


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
@pytest.mark.usefixtures("picture")
def test_the_size_is_known_through_other_nodes(page: Page) -> None:
    """A latent that is still empty, our own node before ours, a reroute, a bypassed node."""
    more = {"latent": "EmptyLatentImage", "sampler": "KSampler", "decode": "VAEDecode", "second": "APISRUpscale"}
    add_nodes(page, more, [("latent", 0, "sampler", "latent_image"), ("sampler", 0, "decode", "samples")])
    changed(page, "latent", width=640, height=384, batch_size=3)
    page.evaluate("() => window.apisrNodes.decode.connect(0, window.apisrNodes.up, 1)")
    expect(text_of(page, "up")).to_contain_text("3 frames, 2560 x 1536")
    page.evaluate("() => window.apisrNodes.up.connect(0, window.apisrNodes.second, 1)")
    page.evaluate("() => window.apisrNodes.model.connect(0, window.apisrNodes.second, 0)")
    changed(page, "second", resize_to="factor")
    changed(page, "second", **{"resize_to.factor": 0.5})
    expect(text_of(page, "second")).to_contain_text("3 frames, 1280 x 768")
    page.evaluate("() => { window.apisrNodes.up.mode = 4 }")  # bypassed: its input passes through
    expect(text_of(page, "second")).to_contain_text("3 frames, 320 x 192")


def test_the_result_stays_through_cached_runs_and_a_reload(picture: str, page: Page, page_problems: list[str]) -> None:
    assert run(page) == "execution_success"
    done = re.compile(r"^192 x 128 in [\d.]+ s$")
    expect(text_of(page, "up")).to_have_text(done)
    said = text_of(page, "up").text_content()
    assert run(page) == "execution_success"  # all is cached
    expect(text_of(page, "up")).to_have_text(said or "")
    changed(page, "up", multiple_of=64)
    expect(text_of(page, "up")).not_to_have_text(done)
    changed(page, "up", multiple_of=1)
    expect(text_of(page, "up")).to_have_text(said or "")
    reload(page)
    expect(text_of(page, "up")).to_have_text(said or "")
    assert not page_problems


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
def test_an_error_stands_on_the_node_and_an_older_text_does_not(
    picture: str, page: Page, browser_server: ComfyServer
) -> None:
    assert run(page) == "execution_success"
    (browser_server.models_dir / "broken.pth").write_bytes(b"\x80\x02broken")
    changed(page, "model", model_name="broken.pth")
    assert run(page) == "execution_error"
    expect(text_of(page, "model")).to_have_text("Damaged file: broken.pth")
    expect(text_of(page, "up")).not_to_contain_text(" in ")


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
def test_cancel_is_said_and_the_batch_goes_on(picture: str, page: Page, browser_server: ComfyServer) -> None:
    run_slow_batch(page, browser_server, 30)
    expect(text_of(page, "up")).to_have_text(re.compile(r"^frame ([3-9]|\d\d) of 30"), timeout=60_000)
    browser_server.interrupt()
    expect(text_of(page, "up")).to_have_text(re.compile(r"^Stopped at frame \d+ of 30\.\nRun goes on from there\.$"))


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
def test_a_run_ends_on_its_node_after_a_reload(picture: str, page: Page, browser_server: ComfyServer) -> None:
    run_slow_batch(page, browser_server, 300)
    expect(text_of(page, "up")).to_have_text(re.compile(r"^frame \d+ of 300"), timeout=60_000)
    reload(page)
    expect(text_of(page, "up")).to_have_text(re.compile(r"^frame \d+ of 300"), timeout=30_000)
    browser_server.interrupt()
    expect(text_of(page, "up")).to_have_text(re.compile(r"^Stopped at frame \d+ of 300\."))


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
@pytest.mark.usefixtures("picture")
def test_texts_of_another_graph_are_not_shown(page: Page) -> None:
    """Two workflows that are open in one page may have nodes of the same ids."""
    send = """([workflow, text]) => window.app.api.dispatchCustomEvent("apisr.status", {
        node: String(window.apisrNodes.up.id), state: "running", text, workflow: workflow ?? window.app.graph.id })"""
    expect(text_of(page, "up")).to_contain_text("192 x 128")
    page.evaluate(send, ["another", "frame 2 of 9"])
    expect(text_of(page, "up")).to_contain_text("192 x 128")
    page.evaluate(send, [None, "frame 3 of 9"])
    expect(text_of(page, "up")).to_have_text("frame 3 of 9")


@pytest.mark.usefixtures("picture")
def test_the_list_shows_labels_and_stores_names_of_files(page: Page, renderer: str) -> None:
    widget = "window.apisrNodes.model.widgets.find(w => w.name === 'model_name')"
    label = page.evaluate(f"() => {widget}.options.getOptionLabel('4x_APISR_RRDB_GAN_generator.pth')")
    assert label == "APISR 4x RRDB, most pictures (recommended)"
    assert page.evaluate(f"() => {widget}.options.getOptionLabel('mine.pth')") == "mine.pth"
    prompt: Any = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    loader = next(node for node in prompt.values() if node["class_type"] == "APISRModelLoader")
    assert loader["inputs"]["model_name"] == wf.BUNDLED
    assert "apisr_text" not in str(prompt)
    if renderer == "vue":
        expect(page.get_by_text("Real-ESRGAN 4x an").first).to_be_visible()


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
@pytest.mark.usefixtures("picture")
def test_download_from_the_node_with_cancel(
    page: Page, browser_server: ComfyServer, keep_zoo: Callable[..., None], page_problems: list[str]
) -> None:
    wf.write_compact(browser_server.base / "official.pth", seed=6)
    data = (browser_server.base / "official.pth").read_bytes()
    with http_server.running() as files:
        slow = http_server.body(data, sends=len(data) // 2, stalls=True)
        files.answers["/a.pth"] = [slow, http_server.body(data)]
        keep_zoo(url=f"{files.address}/a.pth", bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        page.evaluate("() => window.app.refreshComboInNodes()")
        changed(page, "model", model_name=FIRST.file)
        expect(text_of(page, "model")).to_contain_text("to fetch, GPL-3.0")
        changed(page, "model", download=False)
        assert run(page) == "execution_error"
        expect(text_of(page, "model")).to_have_text(re.compile("is not here$"))
        page.keyboard.press("Escape")  # the frontend's own window on the error
        changed(page, "model", download=True)
        page.get_by_role("button", name="Download", exact=True).click()
        expect(text_of(page, "model")).to_contain_text(" of 3 MB")
        page.get_by_role("button", name="Cancel download").click()
        files.closing.set()
        expect(page.get_by_role("button", name="Download", exact=True)).to_be_visible()
        assert not (browser_server.models_dir / FIRST.file).exists()
        page.get_by_role("button", name="Download", exact=True).click()
        expect(text_of(page, "model")).to_contain_text("official, GPL-3.0")
        expect(page.get_by_role("button", name="Download", exact=True)).to_have_count(0)
    assert (browser_server.models_dir / FIRST.file).read_bytes() == data
    assert run(page) == "execution_success"
    assert not page_problems


def test_without_the_script_all_nodes_work(
    browser_server: ComfyServer, renderer: str, visit: Callable[..., Page]
) -> None:
    page = visit(blocked="**/extensions/**/apisr.js")
    wf.send(browser_server, wf.crop(20, 30, left=3 + (renderer == "vue")), "no script.png")
    page.evaluate("() => window.app.refreshComboInNodes()")
    add_nodes(page, NODES, LINKS)
    changed(page, "load", image="no script.png")
    assert page.evaluate("() => window.apisrNodes.up.widgets.some(w => w.name === 'apisr_text')") is False
    assert run(page) == "execution_success"
    expect(page.get_by_text(re.compile(r"120 x 80 in [\d.]+ s")).first).to_be_visible()
