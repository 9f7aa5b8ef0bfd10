"""What the nodes say, in the language of the page that shows it: the texts of `locales/*/main.json`."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..apisr_archs.text import get_logger

log = get_logger(__name__)

LANGUAGES = ("en", "zh", "zh-TW", "ja", "ko")
"""The languages that this pack speaks, by the names that ComfyUI gives them."""
LOCALES = Path(__file__).parent.parent / "locales"


def known_language(name: str | None) -> str:
    """The language to use for a page in the language `name`: English if we do not speak it."""
    return name if name in LANGUAGES else "en"


def say(language: str, key: str, **values: Any) -> str:
    """The text `key` in a language, with `values` in its places; in English if it is not translated."""
    return (_texts(language).get(key) or _texts("en").get(key) or key).format(**values)


def _texts(language: str) -> dict[str, str]:
    try:
        return _read(language)
    except (OSError, ValueError) as error:  # not kept: at the next text the file may be there
        log.warning("The texts in %s cannot be read: %s", language, error)
        return {}


@lru_cache(maxsize=len(LANGUAGES))
def _read(language: str) -> dict[str, str]:
    return json.loads((LOCALES / language / "main.json").read_text(encoding="utf-8"))["apisr"]


def duration(seconds: float) -> str:
    """Like "0.4 s", "8 s", "1:20 min" or "1:05 h"."""
    if seconds < 0.95:
        return f"{max(0.1, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02} min" if whole < 3600 else f"{whole // 3600}:{whole % 3600 // 60:02} h"


def memory(count: int) -> str:
    """A number of bytes, like "85 MB" or "1.2 GB" (binary units, as ComfyUI and the systems' monitors show them)."""
    return f"{count / 2**30:.1f} GB" if count >= 0.95 * 2**30 else f"{max(1, round(count / 2**20))} MB"
