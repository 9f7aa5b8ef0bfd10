"""Makes text safe to write to every output of the process: console, log, log files.

File names can be in any script, and on Linux need not even be valid Unicode, while a console has one encoding. ComfyUI
logs the traceback of every exception that leaves a node. If that contains a character that the log cannot encode, a
second exception is raised in the error handler. It ends ComfyUI's worker thread, and every later prompt hangs.
"""

import logging
import sys
from collections.abc import Iterator

from typing_extensions import override

LONGEST_NAME = 100
"""Maximum number of characters of a name to show."""
_STRICT = (None, "strict", "surrogateescape", "surrogatepass")
"""Error handlers that raise for characters that cannot be encoded, or for some of them. All others replace them."""


def printable(text: str) -> str:
    """`text` with escapes like \\u6a21 for the characters that some output of this process cannot encode.

    The outputs are stdout, stderr and the streams of the root logger's handlers at the time of the call. Lone
    surrogates, which represent bytes of file names that are not UTF-8, are always escaped.
    """
    for encoding in dict.fromkeys(("utf-8", *_output_encodings())):
        text = escaped(text, encoding)
    return text


def escaped(text: str, encoding: str) -> str:
    """`text` with escapes for the characters that `encoding` lacks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def shown(name: str) -> str:
    """A name read from a file, on one line: shortened if it is long, with escapes for control characters."""
    name = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


def get_logger(name: str) -> logging.Logger:
    """The logger `name`; its records and their tracebacks are made safe to write to every output."""
    logger = logging.getLogger(name)
    logger.addFilter(_PRINTABLE_RECORDS)
    return logger


class _PrintableRecords(logging.Filter):
    """Formats each record and escapes characters that cannot be written. Never drops a record."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), None
        if record.exc_info and record.exc_info[0]:
            # formatters use this text for the traceback if it is set
            record.exc_text = printable(logging.Formatter().formatException(record.exc_info))
        if record.stack_info:
            record.stack_info = printable(record.stack_info)
        return True


_PRINTABLE_RECORDS = _PrintableRecords()


def _output_encodings() -> Iterator[str]:
    """Encodings of the outputs that raise for characters they cannot encode. Streams are None without a console."""
    handlers = list(logging.getLogger().handlers)
    # the original streams too: replacements by other packs may report a different encoding
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
