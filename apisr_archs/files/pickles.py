"""Finds out why torch's `weights_only` reader refused a pickle, by reading its operations. Nothing in it is run."""

import io
import pickle
import pickletools
import re
import zipfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ..errors import UnsafeWeights, UnsupportedWeights
from ..text import shown

REFUSALS = (
    "Unsupported global",
    "unsupported GLOBAL",
    "reduce",
    "Unsupported class",
    "Unsupported operand",
    "Can only",  # "... build", "... set items of", "... create": objects that are not weights
)
"""Phrases in torch's errors about a pickle that needs more than `weights_only` allows."""
LEGACY_PICKLES = 5
"""Number of pickles at the start of torch's old format (magic, protocol, system, object, keys); raw data follows."""
NEWEST_PROTOCOL = 3
"""The newest pickle protocol for which torch's reader knows all operations that weights need."""
MAX_PICKLE_BYTES = 1 << 24
"""Maximum number of bytes read from the pickle in a zip archive; the largest models need a tenth of that."""
EXPECTED_MODULES = re.compile(r"(torch|collections)(\.|$)")
"""Modules of the globals that ordinary pickles of weights use."""


def refuse_pickle(path: Path, head: bytes, error: pickle.UnpicklingError) -> None:
    """Raise the error that says why an intact pickle was refused. Return if the file is no pickle, or is truncated.

    Args:
        path: the file: a zip archive written by torch, or a sequence of pickles.
        head: its first bytes.
        error: torch's error about it.

    Raises:
        UnsafeWeights: it needs more than weights; the message names the first such global.
        UnsupportedWeights: its pickle protocol is newer than torch can read safely.
    """
    if not any(sign in str(error) for sign in REFUSALS):
        return
    found = Found()
    if not _is_whole(path, head, found):
        return
    match = re.search(r"GLOBAL (\S+)|<(?:class|(?:built-in )?function) '?([^' >]+)", str(error))
    wanted = (match[1] or match[2]) if match else found.unexpected
    # "from None", here and below: torch's own message suggests loading such a file unsafely
    if wanted is None and found.protocol > NEWEST_PROTOCOL:
        raise UnsupportedWeights(
            f"{path} was saved with pickle protocol {found.protocol}, which torch cannot read safely. Get the model as "
            ".safetensors, or let its author save it again with torch.save's default (protocol 2)."
        ) from None
    if wanted and wanted.startswith("numpy."):
        raise UnsafeWeights(
            f"{path} was not loaded: it contains more than weights, namely strings, dates or numpy objects "
            f"({shown(wanted)}), which cannot be read safely. Get the model as .safetensors, or let its author save "
            "the weights alone."
        ) from None
    named = f" ({shown(wanted)})" if wanted else ""
    raise UnsafeWeights(
        f"{path} was not loaded: it is a pickle with more than weights in it{named}, and what is not known to be "
        "harmless can run any code on this machine. Get the model as .safetensors, or from its author's page."
    ) from None


@dataclass
class Found:
    """Findings in the pickles read so far."""

    protocol: int = 0
    unexpected: str | None = None
    """Module and name of the first global that pickles of weights do not normally use."""


def _is_whole(path: Path, head: bytes, found: Found) -> bool:
    """Whether the file's pickles are complete. Fills `found`; stops at a length that cannot be real."""
    is_zip = head.startswith(b"PK")  # complete, otherwise torch would not have reached its pickle
    try:
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
                with archive.open(name) as file:
                    _scan(io.BytesIO(file.read(MAX_PICKLE_BYTES)), found)
        elif not head.startswith(b"\x80"):
            return False
        else:
            with path.open("rb") as file:
                for _ in range(LEGACY_PICKLES):
                    if file.peek(1)[:1] == b"\x80":
                        _scan(file, found)
    except ValueError:
        return is_zip
    except (MemoryError, OverflowError):  # lengths that no genuine file has
        return True
    return True


def _scan(file: IO[bytes], found: Found) -> None:
    """Scan one pickle. Newer protocols take the names of globals from the stack, so recent strings are tracked."""
    memo: dict[int, Any] = {}
    strings: deque[Any] = deque([None, None], maxlen=2)
    for operation, value, _ in pickletools.genops(file):
        if operation.name == "PROTO":
            found.protocol = max(found.protocol, cast(int, value))
        elif operation.name in ("GLOBAL", "STACK_GLOBAL"):
            name = str(value).replace(" ", ".") if operation.name == "GLOBAL" else ".".join(map(str, strings))
            if not EXPECTED_MODULES.match(name):
                found.unexpected = found.unexpected or name
        if operation.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if value is None else value] = strings[-1]
        else:
            strings.append(memo.get(cast(int, value)) if operation.name in ("BINGET", "LONG_BINGET") else value)
