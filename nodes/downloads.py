"""Downloads of published models: in the background for the button on the node, or within a run of the loader."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from server import PromptServer

from ..apisr_archs import DownloadFailed
from ..apisr_archs.files.download import download
from ..apisr_archs.files.zoo import ZooModel
from ..apisr_archs.text import get_logger
from . import catalogue

log = get_logger(__name__)

SECONDS_BETWEEN = 0.25
"""Between two messages about a download."""


class Downloads:
    """The downloads in the background, at most one for each model."""

    def __init__(self) -> None:
        self._running: dict[str, threading.Event] = {}  # by file; set to stop it
        self._lock = threading.Lock()

    def is_running(self, model: ZooModel) -> bool:
        return model.file in self._running

    def start(self, model: ZooModel) -> None:
        """Begin to fetch a model, unless that is under way already. Its progress goes to all pages."""
        with self._lock:
            if model.file in self._running:
                return
            stop = self._running[model.file] = threading.Event()
        threading.Thread(target=self._run, args=(model, stop), name="apisr-download", daemon=True).start()

    def cancel(self, model: ZooModel) -> None:
        """Stop that; nothing of the file is kept."""
        stop = self._running.get(model.file)
        if stop:
            stop.set()

    def _run(self, model: ZooModel, stop: threading.Event) -> None:
        try:
            fetch(model, is_cancelled=stop.is_set)
        except DownloadFailed as error:
            log.warning("%s", error)
        finally:
            with self._lock:
                del self._running[model.file]


DOWNLOADS = Downloads()
"""Those of this server. ComfyUI has one server per process."""


def fetch(
    model: ZooModel,
    is_cancelled: Callable[[], bool],
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Download a model and tell all pages how far it is, as "apisr.download". See `files.download`.

    Raises:
        DownloadFailed: see there.
    """
    report = _Report(model)

    def advance(done: int, total: int) -> None:
        report.advance(done)
        if on_progress:
            on_progress(done, total)

    try:
        path = download(model, catalogue.download_folder(), on_progress=advance, is_cancelled=is_cancelled)
    except DownloadFailed as error:
        report.send("cancelled" if error.key == "cancelled" else "failed", str(error))
        raise
    except BaseException:  # the host's Cancel
        report.send("cancelled")
        raise
    report.done = model.bytes
    report.send("done")
    return path


class _Report:
    """Sends how far a download is, a few times a second."""

    def __init__(self, model: ZooModel) -> None:
        self.model = model
        self.done = 0
        self.first = -1  # bytes that were there at the first report: a resumed transfer is not that fast
        self.started = self.sent = time.monotonic()

    def advance(self, done: int) -> None:
        if self.first < 0 or done < self.first:
            self.first, self.started = done, time.monotonic()
        self.done = done
        if time.monotonic() - self.sent >= SECONDS_BETWEEN:
            self.send("running")

    def send(self, state: str, error: str = "") -> None:
        self.sent = time.monotonic()
        speed = (self.done - max(0, self.first)) / max(self.sent - self.started, 1e-3)
        message = {"id": self.model.file, "state": state, "done": self.done, "total": self.model.bytes}
        PromptServer.instance.send_sync("apisr.download", {**message, "speed": round(speed), "error": error})
