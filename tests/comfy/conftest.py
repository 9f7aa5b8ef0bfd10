"""A real ComfyUI for the tests of this folder (marker `comfy`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer


@pytest.fixture(scope="session")
def comfy(start_comfy: Callable[..., ExitStack]) -> Iterator[ComfyServer]:
    """One server for all tests that need no special options; its API is tools/comfy_server.py."""
    with start_comfy() as server:
        yield server


@pytest.fixture
def comfy_server(start_comfy: Callable[..., ExitStack]) -> Iterator[Callable[..., ComfyServer]]:
    """`comfy_server("--novram", env={...})`: a server of the test's own, stopped with the test."""
    with ExitStack() as servers:

        def start(*options: str, **how: Any) -> ComfyServer:
            return servers.enter_context(start_comfy(*options, **how))

        yield start
