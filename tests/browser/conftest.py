"""ComfyUI in a real Chromium (marker `browser`), with a server of its own and no way out of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.chromium import NO_CHROMIUM, find_chromium
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

_CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # no way out of this machine; Playwright's routes would do it too, but switch the cache off
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
# Any node type of the pack: they are registered together.
_READY = "() => window.LiteGraph?.registered_node_types['APISRUpscale'] && window.app?.graph"
_EMPTY_STORAGE = """async () => {
    localStorage.clear()
    sessionStorage.clear()
    for (const { name } of await indexedDB.databases()) indexedDB.deleteDatabase(name)
}"""
# The frontend asks for files of a user who has none yet and for pages that we block;
# it also minds that _READY looks at the graph early.
_EXPECTED_PROBLEMS = (
    "404",
    "ERR_FAILED",
    "ERR_NAME_NOT_RESOLVED",
    "Content Security Policy",
    "graph accessed before initialization",
)


@pytest.fixture(scope="session")
def browser_server(start_comfy: Callable[..., AbstractContextManager[ComfyServer]]) -> Iterator[ComfyServer]:
    """The ComfyUI that the pages show, past its first-visit tour."""
    with start_comfy() as server:
        server.post_json("/settings/Comfy.TutorialCompleted", True)
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """$CHROMIUM, an installed browser, or the one that Playwright installed. Without any, the tests fail."""
    with sync_playwright() as playwright:
        program = find_chromium() or Path(playwright.chromium.executable_path)
        if not program.is_file():
            pytest.fail(NO_CHROMIUM, pytrace=False)
        browser = playwright.chromium.launch(executable_path=program, args=_CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page_problems() -> list[str]:
    """Uncaught errors and console errors of `page`, without those that every fresh ComfyUI shows."""
    return []


@pytest.fixture(scope="session")
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    """What the visits share: the cache, which makes them much quicker. Storage is emptied before each."""
    with closing(chromium.new_context(viewport={"width": 1600, "height": 900})) as context:
        yield context


@pytest.fixture
def visit(
    profile: BrowserContext, browser_server: ComfyServer, page_problems: list[str]
) -> Iterator[Callable[..., Page]]:
    """`visit()`: a fresh visit (1600x900) to `browser_server`, with our nodes registered and the first graph shown.

    blocked: a pattern of addresses that the page shall not get.
    """
    with ExitStack() as pages:

        def begin(blocked: str | None = None) -> Page:
            page = profile.new_page()
            pages.callback(page.close)
            page.goto(f"{browser_server.address}/system_stats")  # of that origin, and nothing runs there
            page.evaluate(_EMPTY_STORAGE)
            page.on("pageerror", lambda error: page_problems.append(f"uncaught: {error}"))
            page.on("console", lambda message: _note(message.type, message.text, page_problems))
            if blocked:
                page.route(blocked, lambda route: route.abort())
            page.goto(browser_server.address)
            page.wait_for_function(_READY, timeout=60_000)
            page.wait_for_timeout(2500)  # the frontend loads its default graph after that and would replace ours
            return page

        yield begin


@pytest.fixture
def page(visit: Callable[..., Page]) -> Page:
    return visit()


@pytest.fixture(params=["classic", "vue"])
def renderer(request: pytest.FixtureRequest, browser_server: ComfyServer) -> Iterator[str]:
    """The frontend's two ways to draw nodes."""
    browser_server.post_json("/settings/Comfy.VueNodes.Enabled", request.param == "vue")
    yield request.param
    browser_server.post_json("/settings/Comfy.VueNodes.Enabled", False)


@pytest.fixture
def keep_zoo(browser_server: ComfyServer) -> Iterator[Callable[..., None]]:
    """`keep_zoo(url=..., bytes=..., sha256=...)`: another file for the first known model, until the test ends."""
    first = zoo.ZOO[0]

    def change(**published: Any) -> None:
        browser_server.run({"zoo": wf.node("TestingZoo", **published)})

    yield change
    change(url=first.urls[0], bytes=first.bytes, sha256=first.sha256)
    (browser_server.models_dir / first.file).unlink(missing_ok=True)


def _note(kind: str, text: str, problems: list[str]) -> None:
    if kind == "error" and not any(expected in text for expected in _EXPECTED_PROBLEMS):
        problems.append(text)
