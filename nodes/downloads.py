"""Downloads of published models, begun by the button on a node or by a run of the loader: one for each model."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from server import PromptServer

from ..apisr_archs import DownloadFailed
from ..apisr_archs.files.download import cancelled, download
from ..apisr_archs.files.zoo import ZooModel
from ..apisr_archs.text import get_logger
from . import catalogue

log = get_logger(__name__)

SECONDS_BETWEEN = 0.25
"""Between two messages about a download."""
SECONDS_TO_WAIT = 0.1
"""Between two looks of a run at the download that it waits for."""


class Transfer:
    """One download in a thread of its own. Its progress goes to all pages, as "apisr.download"."""

    def __init__(self, model: ZooModel) -> None:
        self.model = model
        self.done = 0  # bytes
        self.ended = threading.Event()
        self.path: Path | None = None
        self.error: Exception = cancelled(model)
        """Why there is no path, once it has ended."""
        self._is_stopped = False
        self._first = -1  # bytes that were there at the first report: a resumed transfer is not that fast
        self._started = self._sent = time.monotonic()

    def stop(self) -> None:
        """End it for all who wait, at once, though its thread may still wait for the other side. Nothing is kept."""
        self._is_stopped = True
        self._send("cancelled", self.error)
        self.ended.set()

    def run(self, close: Callable[["Transfer"], bool]) -> None:
        """Download. close: called before the end is told; it returns False if the transfer was stopped and all know."""
        path = error = None
        try:
            path = download(
                self.model,
                catalogue.download_folder(),
                on_progress=self._advance,
                is_cancelled=lambda: self._is_stopped,
            )
        except DownloadFailed as problem:
            log.warning("%s", problem)
            error = problem
        except Exception as problem:
            log.exception("The download of %s failed.", self.model.file)
            error = problem
        if not close(self):
            return
        self.path = path
        if error is None:
            self.done = self.model.bytes
            self._send("done")
        else:
            self.error = error
            self._send("failed", error)
        self.ended.set()

    def _advance(self, done: int, _total: int) -> None:
        if self._first < 0 or done < self._first:
            self._first, self._started = done, time.monotonic()
        self.done = done
        if time.monotonic() - self._sent >= SECONDS_BETWEEN and not self._is_stopped:
            self._send("running")

    def _send(self, state: str, error: Exception | None = None) -> None:
        self._sent = time.monotonic()
        speed = (self.done - max(0, self._first)) / max(self._sent - self._started, 1e-3)
        message = {"id": self.model.file, "state": state, "done": self.done, "total": self.model.bytes}
        message |= {"speed": round(speed), "subject": catalogue.short_name(self.model.file)}
        message |= {"error": str(error or ""), "key": error.key if isinstance(error, DownloadFailed) else ""}
        PromptServer.instance.send_sync("apisr.download", message)


class Downloads:
    """The transfers that are under way, at most one for each model."""

    def __init__(self) -> None:
        self._running: dict[str, Transfer] = {}  # by file
        self._lock = threading.Lock()

    def is_running(self, model: ZooModel) -> bool:
        return model.file in self._running

    def start(self, model: ZooModel) -> Transfer:
        """Begin to fetch a model, unless that is under way already."""
        with self._lock:
            transfer = self._running.get(model.file)
            if transfer is not None:
                return transfer
            transfer = self._running[model.file] = Transfer(model)
        threading.Thread(target=transfer.run, args=(self._close,), name="apisr-download", daemon=True).start()
        return transfer

    def cancel(self, model: ZooModel) -> None:
        """Stop that, whoever began it."""
        with self._lock:
            transfer = self._running.pop(model.file, None)
        if transfer:
            transfer.stop()

    def fetch(self, model: ZooModel, check: Callable[[], object], on_progress: Callable[[int, int], None]) -> Path:
        """Fetch a model and wait for it; if it is under way already, only wait.

        check: called a few times a second; may raise to end the waiting, and the download if it began here.
        on_progress: is told the bytes that are there, and all bytes.

        Raises:
            DownloadFailed: it failed, or was cancelled.
        """
        is_ours = not self.is_running(model)
        transfer = self.start(model)
        try:
            while not transfer.ended.wait(SECONDS_TO_WAIT):
                check()
                on_progress(transfer.done, model.bytes)
        except BaseException:
            if is_ours:
                self.cancel(model)
            raise
        if transfer.path is None:
            raise transfer.error
        return transfer.path

    def _close(self, transfer: Transfer) -> bool:
        """Forget a transfer that has ended; False if it was forgotten before, because it was stopped."""
        with self._lock:
            is_known = self._running.get(transfer.model.file) is transfer
            if is_known:
                del self._running[transfer.model.file]
            return is_known


DOWNLOADS = Downloads()
"""Those of this server. ComfyUI has one server per process."""
