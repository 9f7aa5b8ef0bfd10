"""What there is to know about the entries of the model list, in words for the node."""

from pathlib import Path
from typing import Any

from ..apisr_archs.files import zoo
from . import catalogue, words
from .downloads import DOWNLOADS
from .measured import MEASURED, Loaded


def describe_all(language: str) -> list[dict[str, Any]]:
    """All entries, see `describe`, but no file is read: what a file of a published name is remains open."""
    return [_described(name, language, is_checked=False) for name in catalogue.names()]


def describe(name: str, language: str) -> dict[str, Any]:
    """One entry: its name, label and what it is good for; whether it is there, and two short lines about it.

    "id" is what to download it by, None for what cannot be downloaded. "origin" is "bundled", "official" (its sha256
    is the published one), "altered" (it is not) or "unknown". For a name that is not in the list nothing is there.
    """
    return _described(name, language, is_checked=True)


def downloadable(identifier: object) -> zoo.ZooModel | None:
    """The published model of that id."""
    return next((model for model in zoo.ZOO if model.file == identifier), None)


def _described(name: str, language: str, *, is_checked: bool) -> dict[str, Any]:
    known, path = catalogue.published(name), catalogue.find(name)
    is_bundled = name == catalogue.BUNDLED
    key = "bundled" if is_bundled else Path(known.file).stem if known else "other"
    origin = _origin(name, path, is_checked)
    return {
        "name": name,
        "label": name if key == "other" else words.say(language, f"label_{key}"),
        "good_for": words.say(language, f"good_{key}"),
        "id": known.file if known and not is_bundled else None,
        "present": path is not None,
        "downloading": known is not None and DOWNLOADS.is_running(known),
        "origin": origin,
        "bytes": _bytes(path, known),
        "lines": _lines(name, language, path, origin),
    }


def _origin(name: str, path: Path | None, is_checked: bool) -> str:
    if name == catalogue.BUNDLED:
        return "bundled"
    if zoo.find(name) is None:
        return "unknown"
    return "altered" if is_checked and path and catalogue.unlike_published(path) else "official"


def _lines(name: str, language: str, path: Path | None, origin: str) -> list[str]:
    """What the network is; and where it is, how large, and under which licence."""
    known, loaded = catalogue.published(name), MEASURED.models.get(catalogue.file_name(name))
    lines = []
    if loaded:
        lines.append(_facts(language, loaded.architecture, loaded.facts.scale, loaded.parameters))
    elif known:
        lines.append(_facts(language, known.architecture, known.scale, known.parameters))
    size = f"{_bytes(path, known) / 1e6:.1f}"
    if path is None and known is None:
        lines.append(words.say(language, "error_not_here", subject=catalogue.short_name(name)))
    elif path is None and known:
        lines.append(words.say(language, "not_here", size=size, licence=known.licence))
    else:
        licence = f", {known.licence}" if known and origin != "altered" else ""
        lines.append(words.say(language, "here", size=size, origin=words.say(language, origin)) + licence)
    return lines


def _bytes(path: Path | None, known: zoo.ZooModel | None) -> int:
    """Size of a file; of one that is not there, or was just deleted, the published size."""
    try:
        return path.stat().st_size if path else known.bytes if known else 0
    except OSError:
        return known.bytes if known else 0


def _facts(language: str, architecture: str, scale: int, parameters: int) -> str:
    return words.say(language, "facts", architecture=architecture, scale=scale, parameters=f"{parameters / 1e6:.2f} M")


def loaded_lines(language: str, loaded: Loaded, dtype: str, device: str) -> list[str]:
    """The lines for a model that has just been loaded."""
    first = _facts(language, loaded.architecture, loaded.facts.scale, loaded.parameters)
    return [first, words.say(language, "loaded", dtype=dtype, device=device)]
