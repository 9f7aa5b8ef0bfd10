"""Runs other programs, with logs, a clean stop on Ctrl-C, and errors that say what to do."""

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
    """A problem that the user has to fix; the message says how."""


class Terminated(KeyboardInterrupt):
    """A termination request (SIGTERM), handled like Ctrl-C."""


def say(line: str) -> None:
    """Print a line immediately, even if the output is buffered."""
    print(line, flush=True)


def run_logged(command: Sequence[str | Path], log_name: str, hint: str, env: Mapping[str, str] | None = None) -> None:
    """Run a command with its output in a log file. Raises SetupFailed with the end of the log and `hint`."""
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
    """Run a program and return its exit code. On Ctrl-C it may clean up first."""
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
            process.send_signal(signal.SIGINT)  # Ctrl-C in a terminal is sent to the child anyway
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def on_terminate(_number: int, _frame: types.FrameType | None) -> None:
    """Signal handler: behave like Ctrl-C, so that every child process is stopped."""
    raise Terminated
