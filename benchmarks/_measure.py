"""Measures time and memory of several functions with the same purpose, in interleaved rounds; and the device's peak."""

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
"""Dense fp16 FLOP/s with fp32 accumulation; the first entry whose name is part of the device's name applies. (The
figure of the 3090 Ti is assumed.)"""


@dataclass(frozen=True)
class Roof:
    """The arithmetic throughput that a program could reach at best, in FLOP/s."""

    flops: float
    label: str


@dataclass
class Contestant:
    """One way to do the job."""

    name: str
    precision: str
    run: Callable[[Any], Any]
    held: int = 0
    """Bytes of GPU memory that stay allocated between calls: weights and caches."""


@dataclass
class Result:
    contestant: Contestant
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak: int | None = None
    """Peak of the GPU memory in bytes, including what stays allocated between calls."""
    verdict: float | None = None
    """The judge's value for the first result; see `race`."""
    problem: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def cpu_median(self) -> float | None:
        """CPU time; on a busy machine, with one thread, steadier than wall time. None on a GPU."""
        return None if torch.cuda.is_available() or not self.cpu_seconds else statistics.median(self.cpu_seconds)

    @property
    def speed(self) -> dict[str, Any]:
        """The entries for the saved record."""
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
    """Run each contestant once to warm up, then all of them `rounds` times in turn.

    Args:
        job: the argument of each call.
        warm_up: the argument of the warm-up call; None for the job.
        judge: called with each contestant's first result; its value is recorded.
        patience: a contestant whose warm-up takes longer than this, in seconds, runs in one round only.
    """
    results = [Result(contestant) for contestant in contestants]
    turns: dict[int, int] = {}
    for index, result in enumerate(results):
        started = time.perf_counter()
        _attempt(result, job if warm_up is None else warm_up, judge)
        turns[index] = 1 if time.perf_counter() - started > patience else rounds
    for number in range(rounds):
        for step in range(len(results)):
            index = (number + step) % len(results)  # a different one starts each round
            if number < turns[index] and results[index].problem is None:
                _attempt(results[index], job)
    return results


def _attempt(result: Result, job: Any, judge: Callable[[Any], float | None] | None = None) -> None:
    """Run once and record the result. With a judge this is the warm-up, which is not timed."""
    contestant = result.contestant
    try:
        seconds, cpu_seconds, peak, kept, output = sample(lambda: contestant.run(job))
    except Exception as error:  # a failure is reported and does not end the race
        result.problem = first_line(error)
    if result.problem:  # after the except block, whose traceback held the tensors
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
    """Wall time, CPU time of all cores (both in seconds), GPU memory at the peak and afterwards, and the result.

    GPU memory is in bytes, minus what was allocated before.
    """
    gpu = torch.cuda.is_available()
    baseline = 0
    if gpu:
        torch.cuda.synchronize()
        baseline = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    started, cpu_started = time.perf_counter(), time.process_time()
    output = call()
    if gpu:
        torch.cuda.synchronize()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    if not gpu:
        return seconds, cpu_seconds, 0, 0, output
    peak, after = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
    return seconds, cpu_seconds, peak - baseline, after - baseline, output


def first_line(error: Exception) -> str:
    """The first line of an error's text, shortened, for tables and records."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def release() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def held_by(build: Callable[[], Contestant]) -> Contestant:
    """Build a contestant and record how much GPU memory stays allocated for it."""
    gpu = torch.cuda.is_available()
    baseline = torch.cuda.memory_allocated() if gpu else 0
    contestant = build()
    contestant.held = torch.cuda.memory_allocated() - baseline if gpu else 0
    return contestant


@contextmanager
def exact_fp32() -> Iterator[None]:
    """Disable TF32, which convolutions use by default."""
    saved = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = saved


def roof() -> Roof:
    """The device's peak from its data sheet; for other devices, measured with a large matrix product."""
    gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if gpu else ""
    for part, flops in PEAKS:
        if part in name:
            return Roof(flops, "of fp16 peak")
    size = 8192 if gpu else 1024  # small on a CPU, so that some of many short runs are undisturbed
    dtype = torch.float16 if gpu else torch.float32
    matrix = torch.rand(size, size, dtype=dtype, device="cuda" if gpu else "cpu")
    best = min(sample(lambda: matrix @ matrix)[0] for _ in range(20 if gpu else 100))
    return Roof(2 * size**3 / best, "of measured matmul peak")
