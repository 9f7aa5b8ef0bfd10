"""On a machine without a browser, the tests of this folder fail and say what to install. They are never skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from apisr_pack.tools.chromium import NO_CHROMIUM

UI = Path(__file__).with_name("test_ui.py")


def test_without_a_browser_the_tests_fail_in_words(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}
    env.pop("CHROMIUM", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", UI, "-k", "search"]
    done = subprocess.run(command, cwd=UI.parents[2], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert NO_CHROMIUM in done.stdout
