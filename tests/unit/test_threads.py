"""Several calls at the same time with one model: each has its own progress and its own end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import torch
from apisr_pack.engine import Cancelled, upscale
from apisr_pack.tests.standins import Nearest, StandIn, enlarged
from torch import Tensor

PATIENCE = 20
"""Seconds; only a broken program waits that long."""
LAYERS = 6


def stepping() -> StandIn:
    """A model whose layers can be watched."""
    return StandIn(Nearest(layers=LAYERS))


def progress(model: Any, images: Tensor) -> list[tuple[float, int]]:
    """What a call reports when it runs alone."""
    seen: list[tuple[float, int]] = []
    upscale(model, images, tile=40, on_tile=lambda *at: seen.append(at))
    return seen


def test_each_layer_of_each_tile_is_reported_once() -> None:
    model, images = stepping(), torch.rand(1, 70, 60, 3)
    seen = progress(model, images)
    tiles, layers = seen[-1][1], LAYERS
    assert tiles > 1
    expected = [tile + layer / layers for tile in range(tiles) for layer in range(layers + 1)]
    of_tiles = [done for done, total in seen if total == tiles]
    assert of_tiles[: len(expected)] == pytest.approx(expected)
    assert of_tiles[-1] == tiles


class Together:
    """Two calls that take turns, one layer each, so that each always acts while the other is at work."""

    def __init__(self) -> None:
        self.both = threading.Barrier(2)

    def turn(self) -> None:
        with suppress(threading.BrokenBarrierError):  # the other one has ended
            self.both.wait(PATIENCE)

    def run(self, *calls: Callable[[], Tensor]) -> list[Future[Tensor]]:
        def alone(call: Callable[[], Tensor]) -> Tensor:
            try:
                return call()
            finally:
                self.both.abort()

        with ThreadPoolExecutor(len(calls)) as threads:
            return [threads.submit(alone, call) for call in calls]


@pytest.mark.parametrize("after", [1, 3, 9, 20])
def test_who_is_cancelled_ends_alone(after: int) -> None:
    model, together = stepping(), Together()
    images, others = torch.rand(3, 70, 60, 3), torch.rand(2, 50, 90, 3)
    asked: list[int] = []
    seen: list[tuple[float, int]] = []

    def is_cancelled() -> bool:
        together.turn()
        asked.append(threading.get_ident())
        return len(asked) > after

    def on_tile(done: float, total: int) -> None:
        together.turn()
        seen.append((done, total))

    cancelled, finished = together.run(
        lambda: upscale(model, images, tile=40, is_cancelled=is_cancelled),
        lambda: upscale(model, others, tile=40, on_tile=on_tile),
    )
    with pytest.raises(Cancelled):
        cancelled.result()
    assert len(asked) == after + 1
    assert len(set(asked)) == 1, "asked in its own thread only"
    assert torch.equal(finished.result(), enlarged(others, 2))
    assert seen == progress(stepping(), others), "its own steps, each of them once"
    assert not any(module._forward_hooks for module in model.model.modules())


def test_two_that_finish_report_their_own_progress() -> None:
    model, together = stepping(), Together()
    pictures = torch.rand(1, 70, 60, 3), torch.rand(2, 50, 90, 3)
    seen: list[list[tuple[float, int]]] = [[], []]

    def call(number: int) -> Callable[[], Tensor]:
        def on_tile(*at: Any) -> None:
            together.turn()
            seen[number].append(at)

        return lambda: upscale(model, pictures[number], tile=40, on_tile=on_tile)

    for number, future in enumerate(together.run(call(0), call(1))):
        assert torch.equal(future.result(), enlarged(pictures[number], 2))
        assert seen[number] == progress(stepping(), pictures[number])


def test_a_call_within_a_call() -> None:
    """The same model makes a preview while it works: neither call counts the other's layers."""
    model, images = stepping(), torch.rand(2, 70, 60, 3)
    outer: list[tuple[float, int]] = []
    inner: list[tuple[float, int]] = []

    def on_tile(*at: Any) -> None:
        outer.append(at)
        if len(outer) == 9:
            small = torch.rand(1, 8, 9, 3)
            result = upscale(model, small, on_tile=lambda *preview: inner.append(preview))
            assert torch.equal(result, enlarged(small, 2))

    assert torch.equal(upscale(model, images, tile=40, on_tile=on_tile), enlarged(images, 2))
    assert outer == progress(stepping(), images)
    assert inner == progress(stepping(), torch.rand(1, 8, 9, 3))


def test_a_call_within_a_call_that_is_cancelled() -> None:
    model, images = stepping(), torch.rand(1, 70, 60, 3)
    outer: list[tuple[float, int]] = []

    def on_tile(*at: Any) -> None:
        outer.append(at)
        if len(outer) == 9:
            with pytest.raises(Cancelled):
                upscale(model, torch.rand(1, 8, 9, 3), is_cancelled=lambda: True)

    assert torch.equal(upscale(model, images, tile=40, on_tile=on_tile), enlarged(images, 2))
    assert outer == progress(stepping(), images)
