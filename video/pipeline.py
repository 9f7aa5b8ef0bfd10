"""Runs the producer and the consumer of a loop in threads of their own, with bounded queues between them."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

T = TypeVar("T")
POLL = 0.1
"""Seconds between two looks at whether to stop, while waiting."""


class Stopped(Exception):
    """The other end of a queue has stopped."""


class Channel(Generic[T]):
    """A bounded queue between two threads, which either of them can end."""

    def __init__(self, size: int, check: Callable[[], None]) -> None:
        """check: called again and again while the caller's thread waits; may raise."""
        self.items: queue.Queue[tuple[T] | None] = queue.Queue(size)
        self.check = check
        self.is_stopped = threading.Event()
        self.error: BaseException | None = None

    def put(self, item: tuple[T] | None, check: Callable[[], None]) -> None:
        """Add an item, in a tuple, or None for the end. Raises Stopped if nobody takes it any more."""
        while not self.is_stopped.is_set():
            try:
                return self.items.put(item, timeout=POLL)
            except queue.Full:
                check()
        raise Stopped

    def take(self, check: Callable[[], None]) -> Iterator[T]:
        """The items, up to the end. Raises Stopped if there will be no end."""
        while True:
            try:
                item = self.items.get(timeout=POLL)
            except queue.Empty:
                if self.is_stopped.is_set():
                    raise Stopped from None
                check()
                continue
            if item is None:
                return
            yield item[0]


def nothing() -> None:
    """A check that never raises."""


@contextmanager
def read_ahead(items: Iterable[T], size: int, check: Callable[[], None]) -> Iterator[Iterator[T]]:
    """`with read_ahead(frames, 4, check) as frames:` iterates `frames` in a thread, up to 4 ahead.

    An error there is raised here, in its place among the items. At the end of the context the thread has ended.

    check: called while waiting for an item; may raise.
    """
    channel = Channel[T](size, check)

    def produce() -> None:
        try:
            for item in items:
                channel.put((item,), nothing)
        except Stopped:
            pass
        except BaseException as error:
            channel.error = error
        finally:
            if close := getattr(items, "close", None):  # a generator that was not used up holds a file open
                close()
            if not channel.is_stopped.is_set():
                _end(channel)

    def consume() -> Iterator[T]:
        yield from channel.take(check)
        if channel.error is not None:
            raise channel.error

    with _thread(produce, channel):
        yield consume()


@contextmanager
def write_behind(
    consume: Callable[[Iterator[T]], None], size: int, check: Callable[[], None]
) -> Iterator[Callable[[T], None]]:
    """`with write_behind(encode, 2, check) as put:` hands items to `encode`, which takes them in a thread.

    An error there is raised by the next `put`, or at the end of the context. If the context ends by an error, `encode`
    gets `Stopped` instead of further items; otherwise its end is waited for.

    check: called while waiting for room; may raise.
    """
    channel = Channel[T](size, check)

    def run() -> None:
        try:
            consume(channel.take(nothing))
        except Stopped:
            pass
        except BaseException as error:
            channel.error = error
        finally:
            channel.is_stopped.set()

    def put(item: T) -> None:
        try:
            channel.put((item,), check)
        except Stopped:
            raise (channel.error or Stopped()) from channel.error

    with _thread(run, channel) as thread:
        yield put
        with suppress(Stopped):
            channel.put(None, check)
        while thread.is_alive():
            thread.join(POLL)
            check()
        if channel.error is not None:
            raise channel.error


def _end(channel: Channel[T]) -> None:
    with suppress(Stopped):
        channel.put(None, nothing)


@contextmanager
def _thread(run: Callable[[], None], channel: Channel[T]) -> Iterator[threading.Thread]:
    """Run a function in a thread; at the end of the context the channel is stopped and the thread has ended."""
    thread = threading.Thread(target=run, name="apisr-video", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        channel.is_stopped.set()
        thread.join()
