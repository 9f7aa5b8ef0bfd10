"""Text that every output of the process can write: log, console, log files.

File names come in all scripts, and on Linux not even as valid Unicode; a console has one encoding. ComfyUI logs the
traceback of every exception that leaves a node. A character that its log cannot encode raises a second exception
while the first one is handled, which ends ComfyUI's worker thread: every later prompt hangs.
"""

import logging
import sys
from collections.abc import Iterator

from typing_extensions import override

LONGEST_NAME = 100
"""Characters of a name that are shown."""
_STRICT = (None, "strict", "surrogateescape", "surrogatepass")
"""Error handlers of streams that raise for (some) characters. The others replace what they cannot encode."""


def printable(text: str) -> str:
    """`text`, with escapes such as \\u6a21 for the characters that some output of this process cannot encode.

    The outputs are stdout, stderr and the streams of the root logger's handlers, as they are when this is called.
    Lone surrogates, which stand for bytes of file names that are not UTF-8, are always escaped.
    """
    for encoding in dict.fromkeys(("utf-8", *_output_encodings())):
        text = escaped(text, encoding)
    return text


def escaped(text: str, encoding: str) -> str:
    """`text`, with escapes for the characters that `encoding` lacks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def shown(name: str) -> str:
    """A name from a file, on one line: cut where it is long, with escapes for control characters."""
    name = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


def get_logger(name: str) -> logging.Logger:
    """The logger `name`, whose records, tracebacks included, every output can write."""
    logger = logging.getLogger(name)
    logger.addFilter(_PRINTABLE_RECORDS)
    return logger


class _PrintableRecords(logging.Filter):
    """Formats each record and escapes what cannot be written; drops none."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), None
        if record.exc_info and record.exc_info[0]:
            # formatters take the text of the traceback from here if it is there
            record.exc_text = printable(logging.Formatter().formatException(record.exc_info))
        if record.stack_info:
            record.stack_info = printable(record.stack_info)
        return True


_PRINTABLE_RECORDS = _PrintableRecords()


def _output_encodings() -> Iterator[str]:
    """Encodings of the outputs that raise for characters they lack. A process without a console has no streams."""
    handlers = list(logging.getLogger().handlers)
    # the original streams too: what other packs put in their place may name an encoding of its own
    streams = [sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__]
    for output in (*streams, *handlers, *(getattr(handler, "stream", None) for handler in handlers)):
        encoding, errors = getattr(output, "encoding", None), getattr(output, "errors", None)
        if isinstance(encoding, str) and errors in _STRICT and _is_text_encoding(encoding):
            yield encoding


def _is_text_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True
