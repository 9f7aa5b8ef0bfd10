"""The pack in another language of the UI: names, labels, help, and what nodes say while they run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from apisr_pack.tests.browser.frontend import ROOT, add_nodes, changed, run, text_of
from apisr_pack.tests.comfy import workflows as wf
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer


@pytest.fixture
def japanese(renderer: str, browser_server: ComfyServer, visit: Callable[..., Page]) -> Iterator[Page]:
    browser_server.post_json("/settings/Comfy.Locale", "ja")
    yield visit()
    browser_server.post_json("/settings/Comfy.Locale", "en")


@pytest.mark.parametrize("renderer", ["vue"], indirect=True)
def test_everything_is_japanese(
    japanese: Page, browser_server: ComfyServer, page_problems: list[str], tmp_path: Path
) -> None:
    page = japanese
    texts = json.loads((ROOT / "locales" / "ja" / "main.json").read_text(encoding="utf-8"))["apisr"]
    names = json.loads((ROOT / "locales" / "ja" / "nodeDefs.json").read_text(encoding="utf-8"))
    wf.send(browser_server, wf.crop(30, 50, left=11), "japanese.png")
    page.evaluate("() => window.app.refreshComboInNodes()")
    add_nodes(
        page,
        {"load": "LoadImage", "model": "APISRModelLoader", "up": "APISRUpscale", "preview": "PreviewImage"},
        [("load", 0, "up", "image"), ("model", 0, "up", "upscale_model"), ("up", 0, "preview", "images")],
    )
    changed(page, "load", image="japanese.png")
    assert page.evaluate("() => window.apisrNodes.up.title") == names["APISRUpscale"]["display_name"]
    label = "value => window.apisrNodes.model.widgets[0].options.getOptionLabel(value)"
    assert page.evaluate(label, wf.BUNDLED) == texts["label_bundled"]
    expect(text_of(page, "model")).to_contain_text(texts["bundled"])
    assert run(page) == "execution_success"
    done = re.escape(texts["done"]).replace(r"\{size\}", "200 x 120").replace(r"\{time\}", r"[\d.]+ s")
    expect(text_of(page, "up")).to_have_text(re.compile(done))
    page.evaluate("() => window.app.canvas.selectNode(window.apisrNodes.up)")
    page.get_by_test_id("info-button").click()
    heading = page.locator(".node-help-content").get_by_role("heading", level=1)
    expect(heading).to_have_text(names["APISRUpscale"]["display_name"])
    page.screenshot(path=tmp_path / "japanese.png")
    assert not page_problems
