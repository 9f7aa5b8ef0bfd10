"""Starts, uses and stops a real ComfyUI, for dev.py, the tests and the benchmarks. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .comfy_events import EventStream

_START_SECONDS = 180
_WITHOUT_PROMPT_ID = ("progress_text", "preview", "apisr.")
"""Events that do not say of which prompt they are; a server of the tests runs one at a time."""

Event = dict[str, Any]
# Requests to this machine must not go through a proxy from the environment.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class ServerFailed(RuntimeError):
    """The server did not start, or stopped unexpectedly; the message ends with the last lines of its log."""


class PromptRejected(RuntimeError):
    """ComfyUI rejected the workflow before running it. `details` is its response: `error` and `node_errors`."""

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__(f"ComfyUI refused the workflow: {json.dumps(details, indent=2)}")
        self.details = details


class ExecutionFailed(RuntimeError):
    """A node raised an exception. `details` is the `execution_error` event: node_id, exception_message, ..."""

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__(f"{details.get('node_type')}: {details.get('exception_message')}")
        self.details = details


class ExecutionInterrupted(RuntimeError):
    """The run was cancelled. `details` is the `execution_interrupted` event."""

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__(f"interrupted in node {details.get('node_id')} ({details.get('node_type')})")
        self.details = details


@dataclass(frozen=True)
class RunResult:
    """The results of one finished workflow."""

    prompt_id: str
    outputs: dict[str, dict[str, Any]]
    """Node id -> the node's UI output, e.g. {"images": [{"filename", "subfolder", "type"}]}."""
    events: tuple[Event, ...]
    """Every event of the run, in order."""


def free_port() -> int:
    """A TCP port of this machine that is currently unused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port_is_free(port: int) -> bool:
    """Whether ComfyUI can listen on `port`."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class ComfyServer:
    """A running ComfyUI and a client for it. Created by `running_server`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, base: Path, log: Path) -> None:
        self._process = process
        self._port = port
        self._log = log
        self.address = f"http://127.0.0.1:{port}"
        self.base = base

    @property
    def models_dir(self) -> Path:
        """The server's models/upscale_models folder."""
        return self.base / "models" / "upscale_models"

    @property
    def log_text(self) -> str:
        """Everything that the server has printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def is_alive(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def upload_image(self, path: Path, name: str | None = None) -> str:
        """Upload a picture to the input folder; returns its name for a LoadImage node."""
        boundary, name = uuid.uuid4().hex, name or path.name
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return json.loads(self._request("/upload/image", body, kind))["name"]

    def run(
        self,
        prompt: Mapping[str, Any],
        *,
        on_event: Callable[[Event], None] | None = None,
        timeout: float = 600,
        language: str | None = None,
    ) -> RunResult:
        """Run a workflow in API format and wait until it ends.

        `on_event` is called with each event at once (to show progress, or to call `interrupt`). `timeout`: in seconds.
        `language`: that of a page with the pack's script, which shows statuses itself; None: there is no such page.
        Raises PromptRejected, ExecutionFailed, ExecutionInterrupted, TimeoutError or ServerFailed.
        """
        try:
            return self._run(prompt, on_event, time.monotonic() + timeout, language)
        except (ConnectionError, urllib.error.URLError) as error:
            if isinstance(error, urllib.error.HTTPError):
                raise
            raise self.failure(f"ComfyUI disconnected during a run ({error}).") from error

    def _run(
        self,
        prompt: Mapping[str, Any],
        on_event: Callable[[Event], None] | None,
        deadline: float,
        language: str | None,
    ) -> RunResult:
        client_id = uuid.uuid4().hex  # new for each run: ComfyUI forgets an id when its last connection ends
        with contextlib.closing(EventStream("127.0.0.1", self._port, client_id)) as stream:
            stream.next(deadline)  # the greeting: from now on the server knows this client
            if language is not None:
                self.post_json("/apisr/client", {"client_id": client_id, "language": language})
            prompt_id = self.queue(prompt, client_id)
            events: list[Event] = []
            while True:
                event = stream.next(deadline)
                is_ours = event.get("data", {}).get("prompt_id") == prompt_id
                if not is_ours and not event["type"].startswith(_WITHOUT_PROMPT_ID):
                    continue
                events.append(event)
                if on_event is not None:
                    on_event(event)
                if event["type"] == "execution_error":
                    raise ExecutionFailed(event["data"])
                if event["type"] == "execution_interrupted":
                    raise ExecutionInterrupted(event["data"])
                if event["type"] == "execution_success":
                    return RunResult(prompt_id, self._outputs(prompt_id, deadline), tuple(events))

    def queue(self, prompt: Mapping[str, Any], client_id: str = "") -> str:
        """Queue a workflow without waiting for it; returns its prompt id. Raises PromptRejected."""
        try:
            return self.post_json("/prompt", {"prompt": prompt, "client_id": client_id})["prompt_id"]
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            raise PromptRejected(json.loads(error.read())) from error

    def images(self, result: RunResult, node_id: str) -> list[bytes]:
        """The files that node `node_id` saved or previewed, as bytes."""
        return [self._request("/view?" + urllib.parse.urlencode(image)) for image in result.outputs[node_id]["images"]]

    def interrupt(self) -> None:
        """Cancel the run that is in progress."""
        self._request("/interrupt", b"{}")

    def free(self) -> None:
        """Ask ComfyUI to unload all models and clear all caches."""
        self.post_json("/free", {"unload_models": True, "free_memory": True})

    def get_json(self, path: str) -> Any:
        """GET a path from the server, e.g. "/object_info/APISRUpscale"."""
        return json.loads(self._request(path))

    def post_json(self, path: str, data: object) -> Any:
        """POST `data`; returns the decoded response, None if it is empty."""
        answer = self._request(path, json.dumps(data).encode(), {"Content-Type": "application/json"})
        return json.loads(answer) if answer else None

    def stop(self) -> None:
        """Stop the process; safe to call twice."""
        if self.is_alive():
            self._process.terminate()
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def failure(self, what: str) -> ServerFailed:
        """An error that says `what` happened, with the end of the log."""
        tail = "\n".join("    " + line for line in self.log_text.splitlines()[-30:])
        return ServerFailed(f"{what}\nThe last lines of its log {self._log}:\n{tail}")

    def wait_until_ready(self) -> None:
        """Wait until the server responds. Raises ServerFailed if it exits or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if not self.is_alive():
                raise self.failure(f"ComfyUI ended with code {self._process.returncode} while starting.")
            with contextlib.suppress(OSError):
                self.get_json("/system_stats")
                return
            time.sleep(0.25)
        raise self.failure(f"ComfyUI did not answer on {self.address} within {_START_SECONDS} s.")

    def _outputs(self, prompt_id: str, deadline: float) -> dict[str, dict[str, Any]]:
        """The outputs from the history, whose entry is written just after the success event."""
        while time.monotonic() < deadline:
            history = self.get_json(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]["outputs"]
            time.sleep(0.02)
        raise TimeoutError(f"ComfyUI has no history of prompt {prompt_id}")

    def _request(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        request = urllib.request.Request(self.address + path, data=body, headers=headers or {})
        with _open(request, timeout=60) as answer:
            return answer.read()


@contextlib.contextmanager
def running_server(
    python: str | Path,
    comfyui: Path,
    base: Path,
    log: Path,
    *,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Iterator[ComfyServer]:
    """Run the ComfyUI in the folder `comfyui` on 127.0.0.1, with the base directory `base`, until the block ends.

    `python`: an interpreter with ComfyUI's requirements. `options`: further options for main.py ("--cpu").
    `env`: added to the environment. `port`: any free port by default. Raises ServerFailed.
    """
    port = port or free_port()
    command = [str(python), "-u", "main.py", "--listen", "127.0.0.1", "--port", str(port)]
    command += ["--base-directory", str(base), "--database-url", "sqlite:///:memory:"]
    command += ["--disable-api-nodes", "--disable-auto-launch", *options]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=comfyui,
            env={**os.environ, "PYTHONIOENCODING": "utf-8", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    server = ComfyServer(process, port, base, log)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()
