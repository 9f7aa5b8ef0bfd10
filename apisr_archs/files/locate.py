"""A path or the name of a known model -> the path of a weight file, downloaded if that is wanted."""

import os
from difflib import get_close_matches
from pathlib import Path

from ..errors import MissingWeights
from ..text import get_logger
from .download import download as download_weights
from .zoo import ZOO, find, missing_message

log = get_logger(__name__)

MODELS = Path(__file__).resolve().parents[2] / "models"
"""Where known names are looked for and downloaded to. The bundled model is there."""
BUNDLED = "realesr-animevideov3"
"""Name of the bundled model, which needs no download."""
NAMES = (BUNDLED, *(model.file for model in ZOO))
"""All known names."""


def locate(path_or_name: str | os.PathLike[str], *, download: bool = False) -> Path:
    """Find a weight file, and fetch it if it is a known one that is missing and `download` is set.

    With a folder in it, `path_or_name` is a path. Without one, it is looked for in the current folder, then in
    `MODELS`. A known file is downloaded to where it was looked for last: the folder of the path, or `MODELS`.

    Returns:
        The path of a file; or of what only looks like one (a folder, a broken link, a path to nothing), which
        `read_state_dict` refuses with the reason.

    Raises:
        ValueError: `path_or_name` is no path.
        MissingWeights: it is a known name whose file is not there, an unknown one, or an address.
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
    """Whether there is anything but a folder, a broken link included."""
    return os.path.lexists(path) and not os.path.isdir(path)  # noqa: PTH112  (never raises, unlike Path.is_dir)


def _unknown_message(name: str) -> str:
    wanted = _plain(name)
    plain = {_plain(known): known for known in reversed(NAMES)}  # reversed: of two that are equal, the first wins
    close = [known for known in NAMES if wanted and wanted in _plain(known)]
    close = close or [plain[match] for match in get_close_matches(wanted, plain, n=3, cutoff=0.5)]
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Known names: {_known()}."
    return (
        f"There is no model file {name!r} in the current folder or {MODELS}, and no known model has that name. {hint}"
    )


def _known() -> str:
    return ", ".join(NAMES)


def _plain(name: str) -> str:
    """For comparisons: lower case, letters and digits alone."""
    return "".join(filter(str.isalnum, name.lower()))
