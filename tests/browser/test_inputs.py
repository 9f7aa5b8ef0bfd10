"""`resize_to`, the number that each choice brings, links and subgraphs, in both of the frontend's renderers.

Each test leaves screenshots in its temporary folder (`--basetemp` chooses where).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from apisr_pack.tests.browser.frontend import WORKFLOW, open_workflow, prompt, run
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

pytestmark = pytest.mark.usefixtures("renderer")

CHOICES: dict[str, dict[str, float]] = {
    "factor": {"resize_to.factor": 2.0},
    "longer side": {"resize_to.pixels": 2048},
    "shorter side": {"resize_to.pixels": 1080},
    "megapixels": {"resize_to.megapixels": 4.0},
    "model scale": {},
}
ADVANCED = ("tile_size", "overlap", "tiling", "reuse_frames", "alpha", "cpu_fallback")

_FIND = """() => {
    window.apisrTest = {
        ours: () => window.app.graph.nodes.find(node => node.type === "APISRUpscale"),
        subgraph: () => window.app.graph.nodes.find(node => node.isSubgraphNode?.()),
        set: (node, name, value) => {
            const widget = node.widgets.find(widget => widget.name === name);
            widget.value = value;
            widget.callback?.(value);
        },
        slot: (node, name) => node.inputs.findIndex(input => input.name === name),
        add: (type, value) => {
            const node = window.LiteGraph.createNode(type);
            node.pos = [40, 800];
            window.app.graph.add(node);
            node.widgets[0].value = value;
            return node;
        },
    };
}"""
_SET = "([which, name, value]) => window.apisrTest.set(window.apisrTest[which](), name, value)"
_WIDGETS = """which => window.apisrTest[which]().widgets
    .filter(widget => widget.serialize !== false).map(widget => widget.name)"""
_LINK = """([which, name, type, value]) => {
    const node = window.apisrTest[which]();
    return String(window.apisrTest.add(type, value).connect(0, node, window.apisrTest.slot(node, name)).origin_id);
}"""
_LINK_MASK = """() => {
    const node = window.apisrTest.ours();
    const picture = window.app.graph.nodes.find(node => node.type === "LoadImage");
    picture.connect(1, node, window.apisrTest.slot(node, "mask"));
}"""
_PLACE_OF_CHOICE = """() => {
    const node = window.apisrTest.ours();
    const widget = node.widgets.find(widget => widget.name === "resize_to");
    const { ds, canvas } = window.app.canvas;
    const corner = canvas.getBoundingClientRect();
    return [
        (node.pos[0] + node.size[0] / 2 + ds.offset[0]) * ds.scale + corner.left,
        (node.pos[1] + widget.y + 10 + ds.offset[1]) * ds.scale + corner.top,
    ];
}"""
_MAKE_SUBGRAPH = """names => {
    const { subgraph } = window.app.graph.convertToSubgraph(new Set([window.apisrTest.ours()]));
    const [inner] = subgraph.nodes;
    for (const name of names) {
        const slot = inner.inputs[window.apisrTest.slot(inner, name)];
        subgraph.addInput(name, String(slot.type)).connect(slot, inner);
    }
}"""
_SAVED_SIZE = """() => {
    const [picture] = window.app.graph.nodes.find(node => node.type === "SaveImage").imgs;
    return [picture.naturalWidth, picture.naturalHeight];
}"""


@pytest.fixture
def opened(page: Page) -> Page:
    """The example workflow."""
    open_workflow(page, WORKFLOW)
    page.evaluate(_FIND)
    return page


def put(page: Page, name: str, value: Any, on: str = "ours") -> None:
    """Set a widget of our node, or of the subgraph that it is in."""
    page.evaluate(_SET, [on, name, value])


def link(page: Page, name: str, kind: str, value: Any, on: str = "ours") -> str:
    """Link a new primitive node of core into an input; returns the node's id."""
    return page.evaluate(_LINK, [on, name, kind, value])


def sent(page: Page) -> dict[str, Any]:
    """The inputs of our node that Run would send."""
    (node,) = (node for node in prompt(page).values() if node["class_type"] == "APISRUpscale")
    return node["inputs"]


def sent_size(page: Page) -> dict[str, Any]:
    return {name: value for name, value in sent(page).items() if name.startswith("resize_to")}


def save_and_reload(page: Page) -> None:
    open_workflow(page, page.evaluate("() => window.app.graph.serialize()"))


def size_of_result(server: ComfyServer, page: Page, shot: Path) -> list[int]:
    """Press Run; width and height of the picture that was saved, in pixels."""
    server.free()  # of what ran before: results that come from the cache are not shown again
    assert run(page) == "execution_success"
    page.wait_for_timeout(1000)
    page.screenshot(path=shot)
    return page.evaluate(_SAVED_SIZE)


def test_each_choice_shows_and_sends_its_number_alone(opened: Page, page_problems: list[str], tmp_path: Path) -> None:
    for choice, number in CHOICES.items():
        put(opened, "resize_to", choice)
        assert opened.evaluate(_WIDGETS, "ours") == ["resize_to", *number, "multiple_of", *ADVANCED]
        assert sent_size(opened) == {"resize_to": choice, **number}
        opened.screenshot(path=tmp_path / f"{choice}.png")
    assert page_problems == []


def test_a_choice_is_made_with_the_mouse(opened: Page, renderer: str) -> None:
    if renderer == "vue":
        node = opened.locator(".lg-node").filter(has_text="Upscale Image (APISR)")
        node.get_by_role("combobox", name="resize_to").click()
        opened.get_by_role("option", name="shorter side").click()
        expect(node.get_by_text("pixels", exact=True)).to_be_visible()
        expect(node.get_by_text("factor", exact=True)).to_have_count(0)
    else:
        opened.mouse.click(*opened.evaluate(_PLACE_OF_CHOICE))
        opened.locator(".litemenu-entry").filter(has_text="shorter side").click()
    assert sent_size(opened) == {"resize_to": "shorter side", "resize_to.pixels": 1080}


def test_a_saved_workflow_comes_back_with_its_choice_and_number(opened: Page) -> None:
    for name, number in (("factor", {"resize_to.factor": 1.5}), ("shorter side", {"resize_to.pixels": 720})):
        put(opened, "resize_to", name)
        for widget, value in number.items():
            put(opened, widget, value)
        before = sent(opened)
        save_and_reload(opened)
        assert sent(opened) == before
        assert sent_size(opened) == {"resize_to": name, **number}
        opened.evaluate(_FIND)


def test_every_number_and_switch_can_be_linked(
    browser_server: ComfyServer, opened: Page, page_problems: list[str], tmp_path: Path
) -> None:
    put(opened, "resize_to", "longer side")
    numbers = {"resize_to.pixels": 300, "multiple_of": 10, "tile_size": 96, "overlap": 16}
    links = {name: [link(opened, name, "PrimitiveInt", value), 0] for name, value in numbers.items()}
    switches = {"reuse_frames": False, "cpu_fallback": True}
    links |= {name: [link(opened, name, "PrimitiveBoolean", value), 0] for name, value in switches.items()}
    opened.evaluate(_LINK_MASK)
    links["mask"] = ["2", 1]
    save_and_reload(opened)
    assert links.items() <= sent(opened).items()
    assert size_of_result(browser_server, opened, tmp_path / "linked.png") == [300, 230]  # 225 to a multiple of 10

    opened.evaluate(_FIND)
    put(opened, "resize_to", "factor")
    factor = link(opened, "resize_to.factor", "PrimitiveFloat", 0.5)
    save_and_reload(opened)
    assert sent_size(opened) == {"resize_to": "factor", "resize_to.factor": [factor, 0]}
    assert size_of_result(browser_server, opened, tmp_path / "factor.png") == [190, 140]
    assert page_problems == []


def test_a_link_into_pixels_stays_when_the_other_side_is_chosen(opened: Page) -> None:
    put(opened, "resize_to", "longer side")
    pixels = link(opened, "resize_to.pixels", "PrimitiveInt", 300)
    put(opened, "resize_to", "shorter side")
    assert sent_size(opened) == {"resize_to": "shorter side", "resize_to.pixels": [pixels, 0]}
    put(opened, "resize_to", "megapixels")
    assert sent_size(opened) == {"resize_to": "megapixels", "resize_to.megapixels": 4.0}


def test_a_choice_shown_on_a_subgraph_runs_whatever_is_chosen_there(
    browser_server: ComfyServer, opened: Page, page_problems: list[str], tmp_path: Path
) -> None:
    """The frontend does not swap the number inside: a missing one has its default, and another choice's is ignored."""
    put(opened, "resize_to", "factor")
    put(opened, "resize_to.factor", 1.5)
    opened.evaluate(_MAKE_SUBGRAPH, ["resize_to", "resize_to.factor"])
    assert opened.evaluate(_WIDGETS, "subgraph") == ["resize_to", "resize_to.factor"]
    assert sent_size(opened) == {"resize_to": "factor", "resize_to.factor": 1.5}

    put(opened, "resize_to.factor", 0.5, on="subgraph")
    assert size_of_result(browser_server, opened, tmp_path / "factor.png") == [192, 144]
    put(opened, "resize_to", "shorter side", on="subgraph")
    save_and_reload(opened)
    assert sent_size(opened) == {"resize_to": "shorter side", "resize_to.factor": 0.5}
    assert size_of_result(browser_server, opened, tmp_path / "shorter side.png") == [1440, 1080]

    opened.evaluate(_FIND)
    number = link(opened, "resize_to.factor", "PrimitiveFloat", 0.25, on="subgraph")
    put(opened, "resize_to", "model scale", on="subgraph")
    assert sent_size(opened) == {"resize_to": "model scale", "resize_to.factor": [number, 0]}
    assert size_of_result(browser_server, opened, tmp_path / "model scale.png") == [1536, 1152]
    put(opened, "resize_to", "factor", on="subgraph")
    assert size_of_result(browser_server, opened, tmp_path / "linked.png") == [96, 72]
    assert page_problems == []


def test_a_number_that_only_the_choice_on_the_subgraph_needs_has_its_default(
    browser_server: ComfyServer, opened: Page, tmp_path: Path
) -> None:
    opened.evaluate(_MAKE_SUBGRAPH, ["resize_to"])
    put(opened, "resize_to", "factor", on="subgraph")
    assert sent_size(opened) == {"resize_to": "factor"}
    assert size_of_result(browser_server, opened, tmp_path / "default.png") == [768, 576]
    expect(opened.get_by_test_id("error-overlay")).to_have_count(0)
