"""Everything we raise or log can be written to the log, in any encoding and with any file name."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs.errors import ApisrError, CorruptWeights, EscapedTraceback, MissingWeights, printable_errors
from apisr_pack.apisr_archs.text import escaped, get_logger, printable
from hypothesis import given
from hypothesis import strategies as st

NAME = "4x_アニメ_模型.pth"
NOT_UTF8 = "4x_\udce9.pth"  # b"4x_\xe9.pth", as Python reads such a name
ENCODINGS = ["ascii", "cp1252", "latin-1", "cp932", "gbk", "utf-8", "utf-16"]
anything = st.text(st.characters(exclude_categories=()), max_size=40)


@contextmanager
def output_in(encoding: str, errors: str = "strict") -> Iterator[io.TextIOWrapper]:
    """stdout and stderr as ComfyUI wraps them, in this encoding; its log handler writes to stderr."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, write_through=True)
    before = sys.stdout, sys.stderr
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    sys.stdout = sys.stderr = stream
    try:
        yield stream
    finally:
        sys.stdout, sys.stderr = before
        logging.getLogger().removeHandler(handler)


def written(stream: io.TextIOWrapper) -> str:
    return stream.buffer.getvalue().decode(stream.encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=anything)
def test_any_text_can_be_written_and_nothing_is_escaped_twice(encoding: str, text: str) -> None:
    with output_in(encoding) as stream:
        safe = printable(text)
        assert printable(safe) == safe
        stream.write(safe)
        stream.flush()


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=anything)
def test_what_can_be_written_stays(encoding: str, text: str) -> None:
    fits = text.encode(encoding, "ignore").decode(encoding)
    fits = "".join(c for c in fits if not 0xD800 <= ord(c) < 0xE000)
    assert escaped(fits, encoding) == fits


def test_a_name_is_readable_where_it_can_be_shown() -> None:
    with output_in("utf-8"):
        assert printable(NAME) == NAME
        assert printable(NOT_UTF8) == "4x_\\udce9.pth"
    with output_in("cp1252"):
        assert printable("é " + NAME) == "é 4x_\\u30a2\\u30cb\\u30e1_\\u6a21\\u578b.pth"


def test_the_strictest_output_decides() -> None:
    with output_in("utf-8"):
        handler = logging.StreamHandler(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
        logging.getLogger().addHandler(handler)
        try:
            assert printable("é") == "\\xe9"
        finally:
            logging.getLogger().removeHandler(handler)
        assert printable("é") == "é"


@pytest.mark.parametrize("name", ["__stdout__", "__stderr__"])
def test_the_original_streams_count_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their replacements write to them in the end, and may claim another encoding."""
    with output_in("utf-8"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
        assert printable("é") == "\\xe9"


def test_an_output_that_replaces_by_itself_needs_no_escapes() -> None:
    with output_in("ascii", errors="backslashreplace"):
        assert printable(NAME) == NAME


class Odd:
    """A stream of another pack."""

    encoding: Any = "no such encoding"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class OddNumber(Odd):
    encoding = 7


class OddCodec(Odd):
    encoding = "hex"


def detached() -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stream.detach()
    return stream


def closed() -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stream.close()
    return stream


@pytest.mark.parametrize("make", [lambda: None, Odd, OddNumber, OddCodec, io.StringIO, detached, closed])
def test_streams_that_are_not_there_or_odd(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", make())
    monkeypatch.setattr(sys, "stderr", make())
    assert printable(NAME + NOT_UTF8) == NAME + "4x_\\udce9.pth"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("name", [NAME, NOT_UTF8])
def test_log_records_are_written_whole(encoding: str, name: str) -> None:
    log = get_logger("apisr test")
    with output_in(encoding) as stream:
        try:
            raise OSError(2, "No such file", name)
        except OSError:
            log.warning("%s is 100%% odd", name, exc_info=True, stack_info=True)
        text = written(stream)
    shown = name.encode(encoding, "backslashreplace").decode(encoding)
    assert text.startswith(f"{shown} is 100% odd\n")
    assert "Logging error" not in text
    assert "FileNotFoundError: [Errno 2] No such file" in text
    assert "Stack (most recent call last)" in text


class Interrupt(Exception):
    """Without a text, like ComfyUI's own."""


class Structured(Exception):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


class Textless(Exception):
    def __str__(self) -> str:
        raise RuntimeError(NAME)


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def in_context(error: Exception, context: Exception) -> Exception:
    error.__context__ = context
    return error


ERRORS = [
    (MissingWeights(f"There is no model {NAME}."), MissingWeights),
    (ValueError(f"resize_to is {NAME!r}."), ValueError),
    (FileNotFoundError(2, "No such file", NAME), FileNotFoundError),
    (KeyError(NAME), KeyError),
    (torch.OutOfMemoryError(NAME), torch.OutOfMemoryError),
    (chained(CorruptWeights("damaged"), OSError(5, "I/O error", NOT_UTF8)), CorruptWeights),
    (in_context(torch.OutOfMemoryError("out of memory"), OSError(NAME)), torch.OutOfMemoryError),
    (in_context(Interrupt(), OSError(NAME)), Interrupt),
    (UnicodeEncodeError("ascii", NAME, 3, 4, NAME), ApisrError),
    (Structured(NAME, "odd"), ApisrError),
    (in_context(Textless(), OSError(NAME)), ApisrError),
]


def logged_by_comfyui(function: Callable[[], None]) -> Exception | None:
    """What the function raises, logged as ComfyUI does: while it is handled. Logging must not raise."""
    try:
        function()
    except Exception as error:
        logging.getLogger().error(f"!!! Exception during processing !!! {error}")
        logging.getLogger().error(traceback.format_exc())
        return error
    return None


@pytest.mark.parametrize("which", range(len(ERRORS)), ids=[type(error).__name__ for error, _ in ERRORS])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_errors_that_leave_can_be_written_with_their_causes(encoding: str, which: int) -> None:
    error, kind = ERRORS[which]

    @printable_errors
    def fails() -> None:
        raise error

    with output_in(encoding) as stream:
        left = logged_by_comfyui(fails)
        log = written(stream)
    assert type(left) is kind
    assert "Logging error" not in log
    assert f"in {fails.__name__}\n" in log, "the whole traceback is there, that of a replaced error as well"
    assert left is error or isinstance(left.__cause__, EscapedTraceback)


@pytest.mark.parametrize("error", [ValueError(NAME), OSError(2, "No such file", NAME)], ids=["text", "path"])
def test_without_that_the_host_dies(error: Exception) -> None:
    """Otherwise the tests above would prove nothing."""

    def fails() -> None:
        raise error

    with output_in("cp1252"), pytest.raises(UnicodeEncodeError):
        logged_by_comfyui(fails)


def test_errors_that_can_be_written_pass_as_they_are() -> None:
    error = chained(CorruptWeights(NAME), OSError(NAME))

    @printable_errors
    def fails() -> None:
        raise error

    with output_in("utf-8"), pytest.raises(CorruptWeights) as caught:
        fails()
    assert caught.value is error
    assert isinstance(error.__cause__, OSError)


def test_an_interrupt_that_is_no_exception_passes() -> None:
    @printable_errors
    def fails() -> None:
        raise KeyboardInterrupt(NAME)

    with output_in("ascii"), pytest.raises(KeyboardInterrupt):
        fails()


def test_results_and_arguments_pass() -> None:
    @printable_errors
    def pair(one: int, *, other: int) -> tuple[int, int]:
        """A docstring."""
        return one, other

    assert pair(1, other=2) == (1, 2)
    assert (pair.__name__, pair.__doc__) == ("pair", "A docstring.")


def test_no_logger_of_ours_goes_without() -> None:
    root = Path(__file__).resolve().parents[2]
    files = [path for folder in ("nodes", "engine", "apisr_archs") for path in (root / folder).rglob("*.py")]
    assert len(files) > 30
    with_a_plain_one = [path.name for path in files if "logging.getLogger(" in path.read_text(encoding="utf-8")]
    assert with_a_plain_one == ["text.py"]
