"""Why torch's `weights_only` reader refused a pickle, found by reading its operations. Nothing of it is run."""

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

SIGNS_OF_CODE = (
    "Unsupported global",
    "unsupported GLOBAL",
    "reduce",
    "Unsupported class",
    "Unsupported operand",
    "Can only",  # build, set items of, make: objects that are no weights
)
"""Parts of what torch says of a pickle that asks for more than `weights_only` allows."""
PICKLES = 5
"""Torch's old format is so many pickles (magic, protocol, system, object, keys), then raw numbers."""
NEWEST_PROTOCOL = 3
"""The last one whose operations torch's reader knows, as far as weights need them."""
LONGEST = 1 << 24
"""Bytes of the pickle in a zip archive that are read; those of the largest models have a tenth of it."""
USUAL = re.compile(r"(torch|collections)(\.|$)")
"""Modules of the things that pickles of weights consist of."""


def refuse_pickle(path: Path, head: bytes, error: pickle.UnpicklingError) -> None:
    """Raise the error that says why a whole pickle was refused; return if it is none, or is cut short.

    Args:
        path: the file, a zip archive of torch's or a row of pickles.
        head: its first bytes.
        error: what torch says of it.

    Raises:
        UnsafeWeights: it asks for more than weights; that is named.
        UnsupportedWeights: it is written in a newer protocol of pickle than torch reads safely.
    """
    if not any(sign in str(error) for sign in SIGNS_OF_CODE):
        return
    found = Found()
    if not _is_whole(path, head, found):
        return
    match = re.search(r"GLOBAL (\S+)|<(?:class|(?:built-in )?function) '?([^' >]+)", str(error))
    wanted = (match[1] or match[2]) if match else found.odd
    # "from None", here and below: torch's own text advises to load such a file unsafely
    if wanted is None and found.protocol > NEWEST_PROTOCOL:
        raise UnsupportedWeights(
            f"{path} was saved with pickle protocol {found.protocol}, which torch cannot read safely. Get the model as "
            ".safetensors, or let its author save it again with torch.save's default (protocol 2)."
        ) from None
    if wanted and wanted.startswith("numpy."):
        raise UnsafeWeights(
            f"{path} was not loaded: it has more than weights in it, namely texts, dates or objects of numpy "
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
    """What was read of pickles so far."""

    protocol: int = 0
    odd: str | None = None
    """Module and name of the first thing that is asked for and is not usual beside weights."""


def _is_whole(path: Path, head: bytes, found: Found) -> bool:
    """Whether the file's pickles are not cut short. `found` gets what there is in them, up to an impossible length."""
    is_zip = head.startswith(b"PK")  # whole, else torch had not come to its pickle
    try:
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
                with archive.open(name) as file:
                    _read(io.BytesIO(file.read(LONGEST)), found)
        elif not head.startswith(b"\x80"):
            return False
        else:
            with path.open("rb") as file:
                for _ in range(PICKLES):
                    if file.peek(1)[:1] == b"\x80":
                        _read(file, found)
    except ValueError:
        return is_zip
    except (MemoryError, OverflowError):  # lengths that no honest file has
        return True
    return True


def _read(file: IO[bytes], found: Found) -> None:
    """Newer protocols take the names of what they ask for from the stack, where they are texts."""
    memo: dict[int, Any] = {}
    texts: deque[Any] = deque([None, None], maxlen=2)
    for operation, value, _ in pickletools.genops(file):
        if operation.name == "PROTO":
            found.protocol = max(found.protocol, cast(int, value))
        elif operation.name in ("GLOBAL", "STACK_GLOBAL"):
            name = str(value).replace(" ", ".") if operation.name == "GLOBAL" else ".".join(map(str, texts))
            if not USUAL.match(name):
                found.odd = found.odd or name
        if operation.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if value is None else value] = texts[-1]
        else:
            texts.append(memo.get(cast(int, value)) if operation.name in ("BINGET", "LONG_BINGET") else value)
