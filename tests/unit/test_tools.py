"""The developer's tools: they install nothing on the system by themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from apisr_pack.tools import chromium


def program(folder: Path, name: str, script: str = "") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH; it has an apt-get that leaves a file when it is run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(chromium, "_PATHS", ())
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    program(tmp_path, "apt-get", f"echo ran > {tmp_path / 'installed'}")
    return tmp_path


def test_without_a_browser_there_is_none(programs: Path) -> None:
    assert chromium.find_chromium() is None
    assert not (programs / "installed").exists()
    assert "apt-get install chromium" in chromium.NO_CHROMIUM


def test_an_installed_browser_is_found(programs: Path) -> None:
    browser = program(programs, "google-chrome")
    assert chromium.find_chromium() == browser


def test_a_named_browser_comes_first(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(programs, "google-chrome")
    mine = program(programs, "mine")
    monkeypatch.setenv("CHROMIUM", str(mine))
    assert chromium.find_chromium() == mine
    monkeypatch.setenv("CHROMIUM", str(programs / "not there"))
    with pytest.raises(chromium.SetupFailed, match="not there is no file"):
        chromium.find_chromium()
