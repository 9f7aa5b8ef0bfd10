"""Loads the pack as ComfyUI does (by path, under a name of its own) and marks the tests of some folders."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"


def _load_pack() -> None:
    """Import the checkout as `apisr_pack`, whatever its folder is called."""
    # On sys.path our nodes/ would stand in for ComfyUI's nodes.py.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    spec = importlib.util.spec_from_file_location(
        "apisr_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["apisr_pack"] = module
    spec.loader.exec_module(module)


_load_pack()

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

StartComfy = Callable[..., "AbstractContextManager[ComfyServer]"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests in tests/comfy and tests/browser with their folder's name, before -m selects by it.

    Those of one file share a server, so that they run in one process.
    """
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("comfy", "browser"):
            item.add_marker(folder)
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Random weights and pictures are the same in every run; the process's generator is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


DEVICES = ("cpu", *(["cuda"] if torch.cuda.is_available() else []))


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """The device a test runs on: the CPU, and also a GPU if torch can use one, without TF32."""
    with torch.backends.cudnn.flags(allow_tf32=False):
        yield request.param


@pytest.fixture(scope="session")
def start_comfy(tmp_path_factory: pytest.TempPathFactory) -> StartComfy:
    """A real ComfyUI with this pack in it: `with start_comfy("--novram", env={"NAME": "1"}) as server`.

    `base`: the base directory of an earlier server, to start in it again.
    """
    from apisr_pack.tools.comfy_server import running_server
    from apisr_pack.tools.pack_link import link_pack

    path = os.environ.get("COMFYUI_PATH")
    if not path:
        pytest.fail("These tests need a ComfyUI: run `python dev.py test`, or set COMFYUI_PATH.", pytrace=False)

    def start(
        *options: str, env: dict[str, str] | None = None, folder: str = "comfy", base: Path | None = None
    ) -> AbstractContextManager[ComfyServer]:
        if base is None:
            base = tmp_path_factory.mktemp(folder)
            link_pack(ROOT, base)
            shutil.copytree(TESTS / "comfy" / "testing_pack", base / "custom_nodes" / "testing-pack")
        device = () if torch.cuda.is_available() else ("--cpu",)
        log = base / "server.log"
        return running_server(sys.executable, Path(path), base, log, options=(*device, *options), env=env)

    return start
