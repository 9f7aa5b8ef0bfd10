"""The browser for the browser tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .process import SetupFailed, run_logged, say

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


def find_chromium(python: Path) -> Path | None:
    """A browser: $CHROMIUM, an installed one, Debian's (as root), else Playwright's own (None)."""
    named = os.environ.get("CHROMIUM")
    if named:
        if not Path(named).is_file():
            raise SetupFailed(f"CHROMIUM={named} is no file. Set it to the browser's program or unset it.")
        return Path(named)
    found = _installed_chromium()
    if found is None and shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        say("Installing Debian's Chromium for the browser tests")
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        run_logged(["apt-get", "update"], "chromium", "Check the network.", env)
        hint = "Install a Chromium or set CHROMIUM to one."
        run_logged(["apt-get", "install", "-y", "chromium"], "chromium", hint, env)
        found = _installed_chromium()
    if found is None:
        say("No Chromium found; asking Playwright for its own")
        command = [python, "-m", "playwright", "install", "chromium"]
        run_logged(command, "chromium", "Install Chromium or Chrome, or set CHROMIUM to its program.")
    return found


def _installed_chromium() -> Path | None:
    for name in _NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    return next((Path(path) for path in _PATHS if Path(path).is_file()), None)
