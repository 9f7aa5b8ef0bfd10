"""What a job says of memory: what is asked for is what is taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import Facts, Halo, Strips
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from apisr_pack.engine import Callbacks, Job, Placement, prepare, session
from apisr_pack.engine.conditions import Conditions, Tried, learned, smaller
from apisr_pack.engine.tiling import Limits
from apisr_pack.tests.standins import NearestModel
from hypothesis import given, settings
from hypothesis import strategies as st

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))
FACTS = Facts(2, 8, Halo(8, 8), 16, bytes_per_pixel(1000))
STRIPS = replace(FACTS, strips=Strips(8, 2, 2.0, 0.2, 0.1, 0.9))


def job_of(facts: Facts = FACTS, shape: tuple[int, ...] = (3, 100, 80, 4), **how: Any) -> Job:
    model = NearestModel()
    model.facts = facts
    return prepare(model, shape, **how)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 700), st.integers(1, 700), st.sampled_from([1, 3, 4])),
    factor=st.floats(0.1, 9),
    usable=st.integers(1, 10**10),
    where=st.sampled_from([(CPU, CPU), (CUDA, CPU), (CUDA, CUDA), (MPS, CPU)]),
    facts=st.sampled_from([FACTS, STRIPS]),
    tile=st.none() | st.integers(1, 400),
    side=st.sampled_from([0, 512]),
)
@settings(deadline=None)
def test_what_is_asked_for_is_what_is_taken(
    shape: tuple[int, ...],
    factor: float,
    usable: int,
    where: tuple[torch.device, torch.device],
    facts: Facts,
    tile: int | None,
    side: int,
) -> None:
    """A memory manager reserves the total, and the engine that is given it has just what the plans take."""
    size = max(1, int(shape[1] * factor)), max(1, int(shape[2] * factor))
    job = job_of(facts, shape, size=size, tile=tile)
    needed = job.needed(usable, *where, side)
    assert job.room(needed.total, *where) == needed
    shares = where[0] == where[1] or where[0] == MPS
    assert needed.canvas in (0, job.canvas_bytes)
    assert needed.canvas == job.canvas_bytes or not shares
    assert needed.canvas_on_device <= (where[0] == CUDA)
    for size in job.inputs:
        now = Conditions(facts, where[0], job.dtype, needed.network, job.limits)
        assert now.plan(*size).bytes <= needed.network, "no tile takes more than was reserved"


def test_tiles_of_a_comfortable_size_may_push_others_out() -> None:
    job = job_of(shape=(1, 600, 600, 3))
    little, enough = (job.needed(10, CUDA, CPU, side) for side in (0, 512))
    assert little.network < enough.network <= 600 * 600 * 1000
    assert enough.network >= 400 * 400 * 1000


@pytest.mark.parametrize(
    "how", [{}, {"tile": 150}, {"overlap": 90}, {"tile": 200, "overlap": 0}, {"preset": "fast"}], ids=str
)
def test_a_job_plans_the_tiles_that_are_computed(how: dict[str, Any]) -> None:
    """The same limits hold where memory is reserved and where it is used."""
    facts = replace(FACTS, halo=Halo(32, 8))
    job = job_of(facts, (1, 400, 380, 3), **how)
    now = Conditions(facts, CUDA, job.dtype, 200 * 200 * 1000, job.limits)
    assert job.plans(now.budget) == [now.plan(400, 380)]
    assert len(now.plan(400, 380)) > 1


def test_what_the_output_takes() -> None:
    job = job_of(shape=(3, 100, 80, 4), size=(150, 120))
    assert job.picture_bytes(torch.float16) == 150 * 120 * 4 * 2
    assert job.output_bytes(torch.float32) == 3 * 150 * 120 * 4 * 4
    assert job.intermediate_bytes == 0
    twice = job_of(shape=(3, 100, 80, 3), size=(350, 300))
    assert twice.inputs == ((100, 80), (175, 150))
    assert twice.intermediate_bytes == 175 * 150 * 3 * 4
    assert twice.passes_per_picture == 2
    assert job_of(size=(350, 300), alpha_by="model").passes_per_picture == 4


# The ladder


def conditions(**changes: Any) -> Conditions:
    return replace(Conditions(FACTS, CUDA, torch.float16, 10**9, Limits(tile=150)), **changes)


def test_first_half_of_what_it_should_have_taken() -> None:
    now = conditions(facts=STRIPS)
    next_one = smaller(now, Tried(200, 180, None), None)
    assert next_one is not None
    assert next_one == replace(now, budget=200 * 180 * 500 // 2)


def test_then_the_smallest_tiles_then_the_cpu_then_the_end() -> None:
    now = conditions(facts=replace(FACTS, bytes_per_pixel=bytes_per_pixel(1)))  # so small that halving does not help
    tried, steps = Tried(90, 80, None), []
    while now.device == CUDA:
        steps.append(now.smallest)
        next_one = smaller(now, tried, cpu_budget=5)
        assert next_one is not None
        now, planned = next_one, next_one.plan(tried.height, tried.width)
        tried = Tried(*planned.tile, planned.strip)
    assert steps == sorted(steps), "first with the tiles that were asked for"
    assert steps[-1]
    assert not now.smallest, "and so on the CPU"


def test_the_cpu_gets_its_own_budget_and_precision() -> None:
    now = conditions(smallest=True)
    planned = now.plan(60, 60)
    moved = smaller(now, Tried(*planned.tile, planned.strip), cpu_budget=123)
    assert moved == replace(now, device=CPU, dtype=torch.float32, budget=123, smallest=False)
    assert smaller(now, Tried(*planned.tile, planned.strip), cpu_budget=None) is None
    assert moved is not None
    assert smaller(replace(moved, smallest=True), Tried(*planned.tile, None), cpu_budget=123) is None, "not twice"


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 10**8), st.sampled_from([FACTS, STRIPS]), st.booleans())
@settings(deadline=None)
def test_each_step_is_smaller(height: int, width: int, budget: int, facts: Facts, cpu: bool) -> None:
    """So it ends."""
    now, tried = conditions(budget=budget, facts=facts), Tried(height, width, None)
    for _ in range(100):
        next_one = smaller(now, tried, 10**9 if cpu else None)
        if next_one is None:
            return
        planned = next_one.plan(tried.height, tried.width)
        again = Tried(*planned.tile, planned.strip)
        before, after = ((t.height * t.width, t.strip or t.height) for t in (tried, again))
        assert after < before or next_one.device != now.device
        now, tried = next_one, again
    pytest.fail("it goes on and on")


def test_what_ran_does_fit() -> None:
    now = conditions(budget=300 * 300 * 500)
    more = learned(now, Tried(300, 300, None), peak=2 * 300 * 300 * 500)
    assert more.facts.bytes_of(torch.float16) == pytest.approx(2 * 1.08 * 500, rel=0.01)
    assert more.budget == more.bytes_for(Tried(300, 300, None))
    assert (more.device, more.limits) == (now.device, now.limits)


def test_a_session_divides_its_budget_by_the_job() -> None:
    """Tiles are planned with what is left beside the canvas."""
    model = NearestModel()
    model.facts = FACTS
    job = prepare(model, (1, 200, 180, 3), size=(300, 270))
    told: list[str] = []
    for network, words in ((200 * 180 * 1000, "whole image"), (200 * 180 * 1000 - 1, "tiles")):
        with session(model, job, Placement(budget=network + job.canvas_bytes), Callbacks(tell=told.append)):
            assert words in told[-1]
