"""Time and memory of things that do the same: interleaved rounds, peaks, and what the device could do at best."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

PEAKS = (
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H200 NVL", 835e12),
    ("H200", 989e12),
    ("RTX 4090", 165e12),
    ("RTX 3090 Ti", 80e12),
)
"""Dense fp16 FLOP/s with fp32 sums, by a part of the device's name; the first that fits. (The 3090 Ti's is assumed.)"""


@dataclass(frozen=True)
class Roof:
    """What no program can be faster than."""

    flops: float
    label: str


@dataclass
class Contestant:
    """One way to do the job."""

    name: str
    precision: str
    run: Callable[[Any], Any]
    held: int = 0
    """Bytes of GPU memory that it keeps between calls: weights and caches."""


@dataclass
class Result:
    contestant: Contestant
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak: int | None = None
    """Bytes of GPU memory, at most, with what is kept between calls."""
    verdict: float | None = None
    """What `race` was told to find out about the first result."""
    problem: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def cpu_median(self) -> float | None:
        """On a busy machine, with one thread, steadier than the clock. None where a GPU does the work."""
        return None if torch.cuda.is_available() or not self.cpu_seconds else statistics.median(self.cpu_seconds)

    @property
    def speed(self) -> dict[str, Any]:
        """For the record."""
        if self.median is None:
            return {"seconds": None, "problem": self.problem}
        seconds = {"seconds": round(self.median, 6), "fastest": round(min(self.seconds), 6)}
        if self.cpu_median is not None:
            seconds["cpu_seconds"] = round(self.cpu_median, 6)
        return seconds


def race(
    contestants: Sequence[Contestant],
    job: Any,
    rounds: int,
    *,
    warm_up: Any = None,
    judge: Callable[[Any], float | None] = lambda _: None,
    patience: float = float("inf"),
) -> list[Result]:
    """Run each once for warming up, then all of them `rounds` times, taking turns.

    Args:
        job: what each is called with.
        warm_up: what each is called with first; None for the job.
        judge: is shown each one's first result.
        patience: who takes longer than so many seconds to warm up runs in one round only.
    """
    results = [Result(contestant) for contestant in contestants]
    turns: dict[int, int] = {}
    for index, result in enumerate(results):
        started = time.perf_counter()
        _attempt(result, job if warm_up is None else warm_up, judge)
        turns[index] = 1 if time.perf_counter() - started > patience else rounds
    for number in range(rounds):
        for step in range(len(results)):
            index = (number + step) % len(results)  # nobody is always the first
            if number < turns[index] and results[index].problem is None:
                _attempt(results[index], job)
    return results


def _attempt(result: Result, job: Any, judge: Callable[[Any], float | None] | None = None) -> None:
    """One run, into the result; with a judge it is the warm-up, which is not timed."""
    contestant = result.contestant
    try:
        seconds, cpu_seconds, peak, kept, output = sample(lambda: contestant.run(job))
    except Exception as error:  # one that fails does not end the race; it is reported
        result.problem = first_line(error)
    if result.problem:  # past the except block, whose traceback held the tensors
        result.seconds.clear()
        release()
        return
    if judge:
        result.verdict = judge(output)
        contestant.held += kept
    else:
        result.seconds.append(seconds)
        result.cpu_seconds.append(cpu_seconds)
        if torch.cuda.is_available():
            result.peak = max(result.peak or 0, contestant.held + peak)


def sample(call: Callable[[], Any]) -> tuple[float, float, int, int, Any]:
    """Seconds, seconds of all CPU cores, bytes of GPU memory at most and afterwards (more than before), result."""
    gpu = torch.cuda.is_available()
    before = 0
    if gpu:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    started, cpu_started = time.perf_counter(), time.process_time()
    output = call()
    if gpu:
        torch.cuda.synchronize()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    if not gpu:
        return seconds, cpu_seconds, 0, 0, output
    peak, after = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
    return seconds, cpu_seconds, peak - before, after - before, output


def first_line(error: Exception) -> str:
    """For a table and a record."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def release() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def held_by(build: Callable[[], Contestant]) -> Contestant:
    """Build a contestant and note what it keeps on the GPU."""
    gpu = torch.cuda.is_available()
    before = torch.cuda.memory_allocated() if gpu else 0
    contestant = build()
    contestant.held = torch.cuda.memory_allocated() - before if gpu else 0
    return contestant


@contextmanager
def exact_fp32() -> Iterator[None]:
    """Without TF32, which convolutions otherwise use."""
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


def roof() -> Roof:
    """The device's peak by its data sheet; of other devices that of a large matrix product, measured now."""
    gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if gpu else ""
    for part, flops in PEAKS:
        if part in name:
            return Roof(flops, "of fp16 peak")
    size = 8192 if gpu else 1024  # small on a CPU: some of many short runs are undisturbed
    dtype = torch.float16 if gpu else torch.float32
    matrix = torch.rand(size, size, dtype=dtype, device="cuda" if gpu else "cpu")
    best = min(sample(lambda: matrix @ matrix)[0] for _ in range(20 if gpu else 100))
    return Roof(2 * size**3 / best, "of measured matmul peak")
