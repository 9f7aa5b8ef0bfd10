"""Resolves a path or the name of a known model to the path of a weight file; downloads it on request."""

import os
from difflib import get_close_matches
from pathlib import Path

from ..errors import MissingWeights
from ..text import get_logger
from .download import download as download_weights
from .zoo import ZOO, find, missing_message

log = get_logger(__name__)

MODELS = Path(__file__).resolve().parents[2] / "models"
"""The folder that known names are looked up in and downloaded to. It holds the bundled model."""
BUNDLED = "realesr-animevideov3"
"""Name of the bundled model, which needs no download."""
NAMES = (BUNDLED, *(model.file for model in ZOO))
"""All known names."""


def locate(path_or_name: str | os.PathLike[str], *, download: bool = False) -> Path:
    """Find a weight file. With `download`, fetch it if it is a known file that is missing.

    If `path_or_name` contains a folder, it is a path. Otherwise the file is looked for in the current folder, then in
    `MODELS`. A known file is downloaded into the folder of the path, or for a bare name into `MODELS`.

    Returns:
        The path of a file. It may also be a folder, a broken link or a missing path, for which `read_state_dict`
        raises the error that says so.

    Raises:
        ValueError: `path_or_name` is neither a string nor a path.
        MissingWeights: it is a known name whose file is missing, an unknown name, or a URL.
        DownloadFailed: see `download`.
    """
    if not isinstance(path_or_name, (str, os.PathLike)) or not isinstance(text := os.fspath(path_or_name), str):
        raise ValueError(
            f"path_or_name is of the type {type(path_or_name).__name__}; expected the path of a weight file, or a "
            f"name: {_known()}."
        )
    if "://" in text:
        raise MissingWeights(
            f"{text} is an address; expected the path of a weight file, or a name: {_known()}. Download the file and "
            "give its path."
        )
    path, is_name = Path(text), not os.path.dirname(text)  # noqa: PTH120  (Path would drop the "./" of a path)
    if _is_file(path):
        return path
    if text == BUNDLED:
        return MODELS / f"{BUNDLED}.safetensors"
    known = find(text)
    folder = MODELS if is_name else path.absolute().parent
    file = folder / (known.file if known else path.name)
    if _is_file(file):
        return file
    if known is None:
        if is_name and not path.is_dir():
            raise MissingWeights(_unknown_message(text))
        return path
    if not download:
        raise MissingWeights(missing_message(known, folder))
    log.info("Downloading %s (%.0f MB) into %s", known.file, known.bytes / 1e6, folder)
    return download_weights(known, folder)


def _is_file(path: Path) -> bool:
    """Whether the path exists and is not a folder. A broken link counts as existing."""
    return os.path.lexists(path) and not os.path.isdir(path)  # noqa: PTH112  (never raises, unlike Path.is_dir)


def _unknown_message(name: str) -> str:
    wanted = _normalized(name)
    plain = {_normalized(known): known for known in reversed(NAMES)}  # reversed: the first of two equal names wins
    close = [known for known in NAMES if wanted and wanted in _normalized(known)]
    close = close or [plain[match] for match in get_close_matches(wanted, plain, n=3, cutoff=0.5)]
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Known names: {_known()}."
    return (
        f"There is no model file {name!r} in the current folder or {MODELS}, and no known model has that name. {hint}"
    )


def _known() -> str:
    return ", ".join(NAMES)


def _normalized(name: str) -> str:
    """The name in lower case, letters and digits only, for comparisons."""
    return "".join(filter(str.isalnum, name.lower()))
