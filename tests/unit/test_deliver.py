"""Tiles that are written by another thread: the same picture, nothing lost, nothing left running.

Without a GPU the thread is still tested, with small pieces that are always late.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import NotEnoughMemory
from apisr_pack.engine import Cancelled, deliver, upscale
from apisr_pack.engine.deliver import AtOnce, InBackground
from apisr_pack.engine.stitch import Stitcher
from apisr_pack.tests.standins import Attempt, NearestModel, at, enlarged
from torch import Tensor

LATE = 0.001
"""Seconds."""


class Late(InBackground):
    """Writes late: code that reads without waiting finds the old content."""

    def _submit(self, write: Callable[[], Any]) -> None:
        super()._submit(lambda: (time.sleep(LATE), write()))


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(deliver, "make_delivery", lambda *_: Late())
    monkeypatch.setattr(deliver, "PIECE", 20_000)
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("apisr-writer")]


def clip() -> Tensor:
    """Frames that are equal, differ a little, or differ completely."""
    frames = torch.rand(1, 72, 64, 3).repeat(8, 1, 1, 1)
    frames[2, 3:5, 4:6] = 0.5
    frames[4:] = torch.rand(72, 64, 3)
    frames[6] = torch.rand(72, 64, 3)
    return frames


PICTURES: dict[str, Callable[[], Tensor]] = {
    "clip": clip,
    "grey": lambda: torch.rand(2, 40, 30, 1),
    "opaque": lambda: torch.cat((torch.rand(2, 40, 30, 3), torch.ones(2, 40, 30, 1)), dim=-1),
    "transparent": lambda: torch.rand(2, 40, 30, 4),
    "no frames": lambda: torch.rand(0, 40, 30, 3),
}
WAYS: dict[str, dict[str, Any]] = {
    "at once": {},
    "tiles": {"tile": 30},
    "smaller": {"size": (31, 29)},
    "larger": {"size": (170, 150)},
    "two passes": {"size": (400, 330)},
    "alpha by the model": {"alpha_by": "model"},
    "half": {"output_dtype": torch.float16},
}


@pytest.mark.parametrize("pictures", PICTURES)
@pytest.mark.parametrize("how", WAYS)
def test_the_same_picture(pictures: str, how: str, device: str, request: pytest.FixtureRequest) -> None:
    """The same as if written at once; on a GPU also through the real background copy."""
    images = PICTURES[pictures]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deliver, "make_delivery", lambda *_: AtOnce())
        expected = upscale(NearestModel(), images, device=device, **WAYS[how])
    assert torch.equal(upscale(NearestModel(), images, device=device, **WAYS[how]), expected)
    request.getfixturevalue("late")
    assert torch.equal(upscale(NearestModel(), images, device=device, **WAYS[how]), expected)


def test_in_inference_mode_as_comfyui_runs_nodes(late: None, device: str) -> None:
    with torch.inference_mode():
        images = clip()
        assert torch.equal(upscale(NearestModel(), images, tile=30, device=device), enlarged(images, 2))


@pytest.mark.parametrize("fails", [{0}, {1}, {1, 2}, {0, 4}])
def test_through_a_shortage_of_memory(fails: set[int], late: None, device: str) -> None:
    images = torch.rand(3, 210, 190, 3)
    assert torch.equal(upscale(NearestModel(fails=at(fails)), images, device=device), enlarged(images, 2))


def test_what_cannot_be_written_is_said(late: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Stitcher, "put", full)
    with pytest.raises(NotEnoughMemory, match="while putting the picture together"):
        upscale(NearestModel(), torch.rand(1, 20, 20, 3))


@pytest.mark.parametrize("size", [None, (10, 10)])
def test_an_error_of_the_last_piece_is_not_lost(
    size: tuple[int, int] | None, late: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor taken for a canvas that does not fit, which would be allocated elsewhere."""
    put = Stitcher.put

    def not_the_end(stitcher: Stitcher, piece: Tensor, row: int, column: int, top: int) -> None:
        if top + len(piece) == 28:
            raise MemoryError
        put(stitcher, piece, row, column, top)

    monkeypatch.setattr(Stitcher, "put", not_the_end)
    with pytest.raises(NotEnoughMemory, match="while putting the picture together"):
        upscale(NearestModel(), torch.rand(1, 14, 20, 3), size=size)


def test_cancelling_leaves_nothing_running(late: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it wait for results that are not needed any more."""
    put, written, asked = Stitcher.put, [], []
    monkeypatch.setattr(Stitcher, "put", lambda *a: (time.sleep(0.05), written.append(1), put(*a)))

    def cancelled() -> bool:
        asked.append(len(written))
        return len(asked) > 12

    with pytest.raises(Cancelled):
        upscale(NearestModel(), torch.rand(4, 60, 60, 3), tile=40, is_cancelled=cancelled)
    assert len(written) <= asked[-1] + 1, "the one that was being written"


def test_not_more_than_some_are_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "PIECE", 12)
    most: list[int] = []
    target, source = torch.empty(50, 1, 3), torch.rand(50, 1, 3)
    with Late() as way:
        for top, piece in way._transfer(source):
            way._submit(lambda top=top, piece=piece: target[top : top + len(piece)].copy_(piece))
            most.append(len(way.pending))
        way.wait()
    assert max(most) == deliver.MAX_PENDING
    assert torch.equal(target, source)


def test_memory_is_touched_before_it_is_written() -> None:
    room = torch.ones(2, 3000, 3)
    with InBackground() as way:
        way.prepare(room)
        way.wait()
    assert (room.view(-1) == 0).nonzero().flatten().tolist() == list(range(0, room.numel(), 1024))


@pytest.mark.parametrize(
    ("device", "output", "kind"),
    [("cpu", "cpu", AtOnce), ("mps", "cpu", AtOnce), ("cuda", "cuda", AtOnce), ("cuda:1", "cpu", InBackground)],
)
def test_only_from_a_gpu_to_the_computer_in_background(device: str, output: str, kind: type) -> None:
    with deliver.make_delivery(torch.device(device), torch.device(output)) as way:
        assert type(way) is kind


def test_each_picture_that_is_computed_is_prepared(late: None, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[Tensor] = []
    monkeypatch.setattr(Late, "prepare", lambda _, room: prepared.append(room))
    images = clip()
    result = upscale(NearestModel(), images)
    assert [room.data_ptr() for room in prepared] == [result[index].data_ptr() for index in (0, 2, 3, 4, 6, 7)]


def test_no_finished_tile_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU its memory is needed for the next one."""
    taken: list[weakref.ref[Tensor]] = []

    class Watched(AtOnce):
        def take(self, tile: Tensor, output: Tensor) -> Tensor:
            tile = super().take(tile, output).clone()
            taken.append(weakref.ref(tile))
            return tile

    def check(_: Attempt) -> bool:
        assert all(tile() is None for tile in taken)
        return False

    monkeypatch.setattr(deliver, "make_delivery", lambda *_: Watched())
    upscale(NearestModel(fails=check), torch.rand(1, 60, 60, 3), tile=40)
    assert len(taken) == 4


def test_without_page_locked_memory() -> None:
    """As on a machine without a GPU, where torch cannot lock pages."""
    with InBackground() as way:
        for _ in range(2):
            assert way._host_buffer(torch.rand(2, 3, 3)).shape == (2, 3, 3)
        assert way.can_lock_pages is torch.cuda.is_available()
