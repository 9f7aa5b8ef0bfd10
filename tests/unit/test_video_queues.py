"""The queues between reading, the network and writing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from apisr_pack.engine import Cancelled
from apisr_pack.video.pipeline import read_ahead, write_behind


def slowly(count: int) -> Iterator[int]:
    for number in range(count):
        time.sleep(0.001)
        yield number


def test_queues_are_bounded_and_keep_the_order() -> None:
    produced, taken = list[int](), list[int]()

    def numbers() -> Iterator[int]:
        for number in range(50):
            produced.append(number)
            yield number

    def consume(items: Iterator[int]) -> None:
        for item in items:
            taken.append(item)

    with read_ahead(numbers(), 4, ok) as ahead, write_behind(consume, 2, ok) as put:
        for number in ahead:
            time.sleep(0.001)
            assert len(produced) <= number + 1 + 4 + 1, "one is held by the thread that waits for room"
            put(number)
    assert taken == list(range(50))


def ok() -> None:
    pass


def fail() -> None:
    raise Cancelled("Cancelled.")


def threads() -> int:
    return sum(thread.name == "apisr-video" for thread in threading.enumerate())


@pytest.mark.parametrize("where", ["reader", "loop", "writer", "last item"])
def test_an_error_anywhere_ends_all_and_is_the_one_that_is_seen(where: str) -> None:
    closed = list[bool]()

    def numbers() -> Iterator[int]:
        try:
            for number in slowly(50):
                if where == "reader" and number == 20:
                    raise ZeroDivisionError(where)
                yield number
        finally:
            closed.append(True)

    def consume(items: Iterator[int]) -> None:
        for item in items:
            if (where == "writer" and item == 20) or (where == "last item" and item == 49):
                raise ZeroDivisionError(where)

    def run() -> None:
        with read_ahead(numbers(), 4, ok) as ahead, write_behind(consume, 2, ok) as put:
            for number in ahead:
                if where == "loop" and number == 20:
                    raise ZeroDivisionError(where)
                put(number)

    with pytest.raises(ZeroDivisionError, match=where):
        run()
    assert threads() == 0
    assert closed == [True], "the file is closed"


@pytest.mark.parametrize("side", ["reader", "writer"])
def test_cancel_is_felt_while_waiting(side: str) -> None:
    """Neither a reader that hangs nor a full queue keeps the run from ending."""
    go_on = threading.Event()

    def hanging() -> Iterator[int]:
        assert go_on.wait(60)
        yield 1

    def consume(items: Iterator[int]) -> None:
        assert go_on.wait(60)
        for _ in items:
            pass

    def read() -> None:
        with read_ahead(hanging(), 4, fail) as ahead:
            raise_and(go_on.set, lambda: next(ahead))

    def write() -> None:
        with write_behind(consume, 1, fail) as put:
            raise_and(go_on.set, lambda: [put(number) for number in range(9)])

    with pytest.raises(Cancelled):
        {"reader": read, "writer": write}[side]()
    assert go_on.is_set()


def raise_and(afterwards: Callable[[], None], action: Callable[[], object]) -> None:
    """Run an action; when it raises, do what lets the other thread end."""
    try:
        action()
    except Cancelled:
        afterwards()
        raise
