"""What there is to know about the entries of the model list, in words for the node."""

from pathlib import Path
from typing import Any

from ..apisr_archs.files import zoo
from . import catalogue, words
from .downloads import DOWNLOADS
from .measured import MEASURED, Loaded


def labels(language: str) -> list[dict[str, str]]:
    """The name and the label of each entry, in the order of the list.

    Where a file is in the list twice, the later label names the file with its folder.
    """
    found, seen = [], set()
    for name in catalogue.names():
        label = _label(name, language)
        found.append({"name": name, "label": f"{label} ({name})" if label in seen else label})
        seen.add(label)
    return found


def describe(name: str, language: str) -> dict[str, Any]:
    """One entry: what it is good for, whether it is there, and two short lines about it.

    "id" is what to download it by, None for what cannot be downloaded. "origin" is "bundled", "official" (its sha256
    is the published one), "altered" (it is not) or "unknown". For a name that is not in the list nothing is there.
    """
    known, path = catalogue.published(name), catalogue.find(name)
    origin = _origin(name, path)
    return {
        "name": name,
        "good_for": words.say(language, f"good_{_key(name)}"),
        "id": known.file if known and name != catalogue.BUNDLED else None,
        "present": path is not None,
        "downloading": known is not None and DOWNLOADS.is_running(known),
        "origin": origin,
        "bytes": _bytes(path, known),
        "lines": _lines(name, language, path, origin),
    }


def downloadable(identifier: object) -> zoo.ZooModel | None:
    """The published model of that id."""
    return next((model for model in zoo.ZOO if model.file == identifier), None)


def _label(name: str, language: str) -> str:
    key = _key(name)
    return name if key == "other" else words.say(language, f"label_{key}")


def _key(name: str) -> str:
    """What the texts about an entry are named by."""
    known = catalogue.published(name)
    return "bundled" if name == catalogue.BUNDLED else Path(known.file).stem if known else "other"


def _origin(name: str, path: Path | None) -> str:
    if name == catalogue.BUNDLED:
        return "bundled"
    if zoo.find(name) is None:
        return "unknown"
    return "altered" if path and catalogue.unlike_published(path) else "official"


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
        is_published = known is not None and origin != "altered"
        values = {"size": size, "origin": words.say(language, origin), "licence": known.licence if known else ""}
        lines.append(words.say(language, "here_licence" if is_published else "here", **values))
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
