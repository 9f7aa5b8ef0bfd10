"""Pictures one at a time: the pixels of a batch, in memory that does not grow with their number."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from apisr_pack.engine import Callbacks, Cancelled, Placement, prepare, session, upscale
from apisr_pack.tests.standins import NearestModel, at, enlarged
from torch import Tensor


def clip(channels: int = 3) -> Tensor:
    """Held frames, small changes and new pictures."""
    first, second = torch.rand(2, 120, 110, channels).unbind()
    moved = first.clone()
    moved[50:60, 40:50] = torch.rand(10, 10, channels)
    return torch.stack([first, first, moved, moved, second, first])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "how", [{}, {"size": (180, 165)}, {"size": (420, 385)}, {"tile": 60}, {"alpha_by": "model"}], ids=str
)
@pytest.mark.parametrize("reuse", [True, False])
def test_a_stream_gives_the_pixels_of_a_batch(channels: int, how: dict[str, Any], reuse: bool) -> None:
    images = clip(channels)
    expected = upscale(NearestModel(), images, **how)
    model = NearestModel()
    job = prepare(model, images.shape, **how)
    with session(model, job, reuse_frames=reuse) as upscale_one:
        got = [upscale_one(picture) for picture in images]
    assert torch.equal(torch.stack(got), expected)
    batch = NearestModel()
    upscale(batch, images, reuse_frames=reuse, **how)
    assert model.model.calls == batch.model.calls, "and computes no more"


@pytest.mark.parametrize("tolerance", [0, 1e-3])
def test_two_buffers_in_turns_are_enough_for_all_pictures(tolerance: float) -> None:
    """As video decoders have them: a picture may be overwritten when the next one has been upscaled."""
    images, model = clip(), NearestModel()
    buffers = torch.empty_like(images[:2])
    with session(model, prepare(model, images.shape), tolerance=tolerance) as upscale_one:
        for number, picture in enumerate(images):
            got = upscale_one(buffers[number % 2].copy_(picture))
            assert torch.equal(got, enlarged(picture[None], 2)[0])


# The same result again


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [None, (50, 40), (150, 120)], ids=str)
@pytest.mark.parametrize("tolerance", [0, 1])
def test_equal_pictures_get_the_same_tensor(channels: int, size: tuple[int, int] | None, tolerance: float) -> None:
    told, seen = list[str](), list[float]()
    model, picture = NearestModel(), torch.rand(40, 30, channels)
    callbacks = Callbacks(tell=told.append, on_tile=lambda done, total: seen.append(done / total))
    job = prepare(model, (4, 40, 30, channels), size=size)
    with session(model, job, callbacks=callbacks, tolerance=tolerance) as upscale_one:
        first = upscale_one(picture)
        before = first.clone()
        assert upscale_one.reused == 0
        assert upscale_one(picture) is first
        assert upscale_one(picture.clone()) is first
        assert upscale_one.reused == pytest.approx(2 / 3)
        assert seen[-1] <= 3 / 4, "as far as the pictures are"
        assert upscale_one(1 - picture) is not first
        assert torch.equal(first, before), "what the caller has stays as it is"
    assert told[-1] == "2 of 4 frames copied: 50% of the work saved."
    assert seen[-1] == 1


def test_the_same_picture_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, picture = NearestModel(), torch.rand(40, 30, 3)
    with session(model, prepare(model, (9, 40, 30, 3))) as upscale_one:
        first = upscale_one(picture)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            assert upscale_one(picture) is first
        assert not [event.key for event in profile.key_averages() if event.key.startswith("aten::")]


def test_a_picture_with_nan_is_held_too() -> None:
    model, picture = NearestModel(), torch.rand(40, 30, 3)
    picture[3, 4, 1] = float("nan")
    with session(model, prepare(model, (3, 40, 30, 3))) as upscale_one:
        first = upscale_one(picture)
        assert upscale_one(picture) is first
        assert upscale_one(picture.clone()) is first


def test_nothing_is_the_same_without_reuse() -> None:
    model, picture = NearestModel(), torch.rand(40, 30, 3)
    with session(model, prepare(model, (3, 40, 30, 3)), reuse_frames=False, tolerance=9) as upscale_one:
        first = upscale_one(picture)
        assert upscale_one(picture) is not first
        assert upscale_one.reused == 0
    assert len(model.attempts) == 2


@pytest.mark.parametrize("tolerance", [0, 1])
def test_what_is_forgotten_is_computed_again(tolerance: float) -> None:
    model, picture = NearestModel(), torch.rand(120, 110, 3)
    with session(model, prepare(model, (3, 120, 110, 3)), tolerance=tolerance) as upscale_one:
        assert upscale_one.reused == 0, "before the first"
        first = upscale_one(picture)
        upscale_one.forget()
        again = upscale_one(picture)
        assert again is not first
        assert torch.equal(again, first)
        assert upscale_one.reused == 0
        assert upscale_one(picture) is again
    assert model.shapes == [(120, 110)] * 2


@pytest.mark.parametrize("tolerance", [0, 1])
def test_a_picture_that_failed_is_not_reused(tolerance: float) -> None:
    """The caller may go on: what the failed picture left half done must not show in later ones."""
    picture = torch.rand(160, 150, 3)
    changed = picture.clone()
    changed[:20, :20] = 0
    model = NearestModel(fails=at([1]), error=lambda: KeyError("broken"))
    with session(model, prepare(model, (3, 160, 150, 3), size=(200, 190)), tolerance=tolerance) as upscale_one:
        first = upscale_one(picture)
        with pytest.raises(KeyError):
            upscale_one(changed)
        assert torch.equal(upscale_one(picture), first)
        assert model.shapes[-1] == (160, 150)
        assert not torch.equal(upscale_one(changed), first)


def test_memory_does_not_grow_with_the_number_of_pictures() -> None:
    model, alive = NearestModel(), []
    with session(model, prepare(model, (100, 40, 30, 3), size=(60, 50))) as upscale_one:
        for _ in range(6):
            alive.append(weakref.ref(upscale_one(torch.rand(40, 30, 3))))
            if sum(ref() is not None for ref in alive) > 1:  # perhaps in cycles
                gc.collect()
            assert sum(ref() is not None for ref in alive) <= 1, "only what the next picture may take over"


def test_more_pictures_than_were_announced() -> None:
    seen: list[float] = []
    model = NearestModel()
    callbacks = Callbacks(on_tile=lambda done, total: seen.append(done / total))
    with session(model, prepare(model, (1, 40, 30, 3)), callbacks=callbacks) as upscale_one:
        for _ in range(3):
            upscale_one(torch.rand(40, 30, 3))
    assert max(seen) <= 2
    assert seen[-1] == 1


@pytest.mark.parametrize("shape", [(30, 40, 3), (40, 30, 4), (1, 40, 30, 3)])
def test_a_picture_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    model = NearestModel()
    with session(model, prepare(model, (1, 40, 30, 3))) as upscale_one:
        with pytest.raises(ValueError, match=r"this session is for \(40, 30, 3\)"):
            upscale_one(torch.rand(shape))
        with pytest.raises(ValueError, match="Divide by 255"):
            upscale_one(torch.zeros(40, 30, 3, dtype=torch.uint8))
        assert upscale_one(torch.rand(40, 30, 3)).shape == (80, 60, 3), "it goes on"


def test_two_sessions_at_a_time_each_have_their_own_progress() -> None:
    """In one thread, picture by picture in turns, on one model."""
    shared, seen = NearestModel(), ([], [])
    jobs = [prepare(shared, (2, 40, 30, 3)) for _ in range(2)]
    first = session(shared, jobs[0], callbacks=Callbacks(on_tile=lambda done, total: seen[0].append(done / total)))
    second = session(shared, jobs[1], callbacks=Callbacks(on_tile=lambda done, total: seen[1].append(done / total)))
    with first as one, second as other:
        one(torch.rand(40, 30, 3))
        assert seen[0]
        assert not seen[1]
        other(torch.rand(40, 30, 3))
        assert max(seen[0]) <= 0.5
        one(torch.rand(40, 30, 3))
    assert seen[0][-1] == 1


def test_cancelling_ends_a_session() -> None:
    model, cancelled = NearestModel(), []
    callbacks = Callbacks(is_cancelled=lambda: bool(cancelled))

    def run() -> None:
        with session(model, prepare(model, (2, 40, 30, 3)), callbacks=callbacks) as upscale_one:
            upscale_one(torch.rand(40, 30, 3))
            cancelled.append(True)
            upscale_one(torch.rand(40, 30, 3))

    with pytest.raises(Cancelled):
        run()
    assert not any(module._forward_hooks for module in model.model.modules())


def test_an_error_of_the_caller_s_own_passes() -> None:
    """Running out of memory in the caller's own code is not reported as the engine's."""
    model = NearestModel()
    with pytest.raises(MemoryError), session(model, prepare(model, (2, 40, 30, 3))):
        raise MemoryError
    with pytest.raises(KeyError), session(model, prepare(model, (2, 40, 30, 3)), Placement(budget=10**9)):
        raise KeyError
