"""Run other programs: logged, with a clean end on Ctrl-C, and failures that say what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".comfyui"
LOGS = WORK / "logs"


class SetupFailed(RuntimeError):
    """Something that the user has to settle; the message says what."""


class Terminated(KeyboardInterrupt):
    """A polite request to end (SIGTERM), handled like Ctrl-C."""


def say(line: str) -> None:
    """One line about a step that takes a while."""
    print(line, flush=True)


def run_logged(command: Sequence[str | Path], log_name: str, hint: str, env: Mapping[str, str] | None = None) -> None:
    """Run a quiet step with its output in a log. Raises SetupFailed with the log's end and `hint`."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{log_name}.log"
    with log.open("wb") as sink:
        code = run(command, env=env, stdout=sink)
    if code:
        text = log.read_text(encoding="utf-8", errors="replace")
        if "No space left" in text or "Errno 28" in text:
            hint = f"The disk of {ROOT} (or the temporary folder) is full: free space and run this again."
        tail = "\n".join("    " + line for line in text.splitlines()[-15:])
        raise SetupFailed(f"This step failed with code {code}: {command[0]} ...\n{tail}\nWhole log: {log}\n{hint}")


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    stdout: object = None,
) -> int:
    """Run a program to its end and return its code; Ctrl-C lets it clean up first."""
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=stdout,  # type: ignore[arg-type]
        stderr=subprocess.STDOUT if stdout else None,
    )
    try:
        return process.wait()
    except KeyboardInterrupt as stop:
        if isinstance(stop, Terminated) and os.name == "posix":
            process.send_signal(signal.SIGINT)  # a terminal's Ctrl-C reaches the child by itself
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def on_terminate(_number: int, _frame: types.FrameType | None) -> None:
    """Signal handler: end like Ctrl-C, so that every child process is stopped."""
    raise Terminated
