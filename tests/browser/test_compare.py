"""The comparison of two pictures: divider, zoom, keys, pages, and what is left after a reload."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from apisr_pack.tests.browser.frontend import add_nodes, changed, run
from apisr_pack.tests.comfy import workflows as wf
from playwright.sync_api import Locator, Page, expect

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

SPLIT = "element => Number(element.querySelector('[role=slider]').getAttribute('aria-valuenow'))"
_ZOOM = "element => Number(/scale\\(([\\d.]+)\\)/.exec(element.querySelector('img').style.transform)[1])"
_PLACE = """element => {
    const [, x, y] = /translate\\(([-\\d.]+)px, ([-\\d.]+)px/.exec(element.querySelector("img").style.transform)
    return [Number(x), Number(y)]
}"""
_GRAPH_ZOOM = "() => window.app.canvas.ds.scale"


@pytest.fixture
def viewer(renderer: str, page: Page, browser_server: ComfyServer) -> Locator:
    """The comparison of a picture of 40 x 30 with its result, after a run."""
    browser_server.free()  # of results whose files an earlier test has deleted
    wf.send(browser_server, wf.crop(30, 40, left=7), "compare.png")
    page.evaluate("() => window.app.refreshComboInNodes()")
    add_nodes(
        page,
        {"load": "LoadImage", "up": "APISRQuickUpscale", "compare": "APISRCompare"},
        [("load", 0, "up", "image"), ("load", 0, "compare", "before"), ("up", 0, "compare", "after")],
    )
    changed(page, "load", image="compare.png")
    assert run(page) == "execution_success"
    viewer = page.locator(".apisr-compare")
    expect(viewer.get_by_text("after 160 x 120", exact=True)).to_be_visible()
    return viewer


def test_the_divider_follows_the_pointer_and_the_keys(
    viewer: Locator, page: Page, page_problems: list[str], tmp_path: Path
) -> None:
    expect(viewer.get_by_text("before 40 x 30")).to_be_visible()
    box = viewer.bounding_box()
    assert box
    for share in (0.25, 0.8):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        assert abs(viewer.evaluate(SPLIT) - 100 * share) <= 1
    page.keyboard.press("ArrowLeft")
    assert abs(viewer.evaluate(SPLIT) - 75) <= 1
    page.keyboard.press("Home")
    assert viewer.evaluate(SPLIT) == 0
    page.screenshot(path=tmp_path / "compare.png")
    assert not page_problems


def test_the_wheel_zooms_the_pictures_and_not_the_graph(viewer: Locator, page: Page) -> None:
    box = viewer.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    fit, graph = viewer.evaluate(_ZOOM), page.evaluate(_GRAPH_ZOOM)
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(200)
    assert viewer.evaluate(_ZOOM) > 1.5 * fit
    page.mouse.wheel(0, -40000)
    page.wait_for_timeout(200)
    most = viewer.evaluate(_ZOOM) * box["width"] / viewer.evaluate("element => element.offsetWidth")
    assert most == pytest.approx(8, rel=0.02), "screen pixels for each pixel"
    page.mouse.wheel(0, 40000)
    page.wait_for_timeout(200)
    assert viewer.evaluate(_ZOOM) == pytest.approx(fit)
    assert page.evaluate(_GRAPH_ZOOM) == graph


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
def test_one_to_one_and_drag(viewer: Locator, page: Page, browser_server: ComfyServer) -> None:
    """With a picture that is larger than its place; of a smaller one the whole picture is more than 1:1 already."""
    wf.send(browser_server, wf.crop(280, 380, top=4, left=4), "compare large.png")
    changed(page, "load", image="compare large.png")
    assert run(page) == "execution_success"
    expect(viewer.get_by_text("after 1520 x 1120", exact=True)).to_be_visible()
    fit = viewer.evaluate(_ZOOM)
    viewer.get_by_text("1:1").click()
    box = viewer.bounding_box()
    assert box
    scale = box["width"] / viewer.evaluate("element => element.offsetWidth")
    assert fit * scale < 0.9
    assert viewer.evaluate(_ZOOM) * scale == pytest.approx(1, rel=0.02)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = viewer.evaluate(_PLACE)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20)
    page.mouse.up()
    moved = [now - then for now, then in zip(viewer.evaluate(_PLACE), before, strict=True)]
    assert moved == pytest.approx([30 / scale, 20 / scale], abs=1)
    viewer.dblclick(position={"x": 50, "y": 50})
    assert viewer.evaluate(_ZOOM) == pytest.approx(fit)


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
def test_the_pointer_takes_the_focus_from_nobody_who_types(viewer: Locator, page: Page) -> None:
    page.evaluate("() => document.body.append(Object.assign(document.createElement('input'), { id: 'typing' }))")
    page.focus("#typing")
    viewer.hover()
    page.keyboard.type("def0")
    assert page.input_value("#typing") == "def0"


def test_an_error_is_said_in_its_place(viewer: Locator, page: Page) -> None:
    page.evaluate(
        """() => {
        const compare = window.app.graph.nodes.find(node => node.type === "APISRCompare")
        const status = { node: String(compare.id), state: "failed", text: "It is so" }
        window.app.api.dispatchCustomEvent("apisr.status", status)
    }"""
    )
    expect(viewer.get_by_text("It is so")).to_be_visible()


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
@pytest.mark.usefixtures("viewer")
def test_it_is_still_there_after_a_reload_and_says_when_it_is_not(page: Page) -> None:
    page.wait_for_timeout(1500)  # the frontend saves its draft
    page.reload()
    page.wait_for_function("() => window.app?.graph?.nodes?.some(node => node.type === 'APISRCompare')", timeout=60_000)
    expect(page.locator(".apisr-compare").get_by_text("after 160 x 120", exact=True)).to_be_visible()
    page.route(re.compile(r"/view\?"), lambda route: route.abort())
    page.reload()
    gone = page.locator(".apisr-compare").get_by_text("The pictures are gone. Run again.")
    expect(gone).to_be_visible(timeout=30_000)
