"""Finds the browser for the browser tests. Standard library only; installs nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .process import SetupFailed

NO_CHROMIUM = (
    "The browser tests need Chromium or Chrome, and none was found. Install it (Debian: apt-get install chromium; "
    "elsewhere: from its website, or python -m playwright install chromium), or set CHROMIUM to its executable."
)

_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
)
_PATHS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)


def find_chromium() -> Path | None:
    """The executable in $CHROMIUM, else an installed browser. Raises SetupFailed if CHROMIUM is not a file."""
    named = os.environ.get("CHROMIUM")
    if named:
        if not Path(named).is_file():
            raise SetupFailed(f"CHROMIUM={named} is no file. Set it to the browser's executable, or unset it.")
        return Path(named)
    for name in _NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    return next((Path(path) for path in _PATHS if Path(path).is_file()), None)
