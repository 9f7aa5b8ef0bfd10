"""Downloads a known weight file. It is verified before it gets its final name; a failure leaves nothing behind.

`APISR_OFFLINE=1` (or `true`, `yes`) in the environment forbids all connections.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from ..errors import DownloadFailed
from .zoo import ZooModel, how_to_get

TIMEOUT_S = (10.0, 30.0)
"""Seconds to wait for a connection, and between two bytes."""

NO_CONNECTION = "no connection; is this machine online?"

_ATTEMPTS = 4  # per address: one, plus up to three that resume an interrupted transfer
_CHUNK = 1 << 16  # bytes
_STALE_S = 3600.0  # an active download writes far more often than this
# identity: size, ranges and hash must refer to the file itself, not to a compressed encoding of it
_HEADERS = {"User-Agent": "ComfyUI-APISR", "Accept-Encoding": "identity"}


class _AddressError(Exception):
    """One address did not deliver the right file; the message says why."""


class _IncompleteError(_AddressError):
    """The transfer stopped early, but some data arrived: worth resuming."""


@dataclass(frozen=True)
class _Job:
    model: ZooModel
    part: Path
    report: Callable[[int], None]  # called with the size of `part` in bytes; may raise to abort the download
    timeout: tuple[float, float]  # as TIMEOUT_S


def download(
    model: ZooModel,
    folder: Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    timeout: tuple[float, float] = TIMEOUT_S,
) -> Path:
    """Download the file of `model` into `folder`, verify it and return its path.

    If the right file is already there, nothing is downloaded. `folder` is created if its parent exists.
    `on_progress(bytes done, total bytes)` starts again from 0 for each address and may raise to abort the download.
    `is_cancelled` aborts it by returning True. Neither is called while the server sends nothing, for up to
    `timeout`: seconds to connect, seconds between two bytes.

    Raises DownloadFailed: says what was wrong with each address, or with the folder.
    """
    target = folder / model.file

    def report(done: int) -> None:
        if is_cancelled is not None and is_cancelled():
            raise cancelled(model)
        if on_progress is not None:
            on_progress(done, model.bytes)

    try:
        if _is_complete(model, target):
            return target
        refuse_offline(model, folder)
        with _part_file(model, folder) as part:
            _check_space(model, folder)
            _fetch_from_any(_Job(model, part, report, timeout))
            if not _is_complete(model, target):  # another process may have finished first
                part.replace(target)
        return target
    except OSError as error:  # network errors were converted to _AddressError, so this is the disk
        reason = error.strerror or error
        raise DownloadFailed(
            f"Could not save {model.file} in {folder}: {reason}.\n"
            f"Check that this is a folder that you may write to, with {model.bytes / 1e6:.1f} MB free.\n"
            f"{how_to_get(model, folder)}"
        ) from error


def cancelled(model: ZooModel) -> DownloadFailed:
    """The error of a download that somebody has stopped."""
    return DownloadFailed(f"The download of {model.file} was cancelled; nothing of it was kept.", "cancelled")


def refuse_offline(model: ZooModel, folder: Path) -> None:
    """Raises DownloadFailed, with instructions for a manual download, if the environment forbids connections."""
    if os.environ.get("APISR_OFFLINE", "").strip().lower() in {"1", "true", "yes"}:
        raise DownloadFailed(
            f"The model file {model.file} is not in {folder}, and APISR_OFFLINE forbids downloading it.\n"
            f"Start this program without APISR_OFFLINE, or get it by hand.\n{how_to_get(model, folder)}",
            "offline",
        )


def broken_link(link: Path) -> str:
    """Error text for a link whose target is missing, with what to do about it."""
    return (
        f"{link} is a broken link: its target {link.readlink()} is not there. Put the file there, or delete the link."
    )


def difference(model: ZooModel, path: Path) -> str | None:
    """A description of how the file differs from the published one, or None. Reads all of it; may raise OSError."""
    size = path.stat().st_size
    if size != model.bytes:
        return f"{size} bytes instead of {model.bytes}"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != model.sha256:
        return f"sha256 {digest.hexdigest()} instead of {model.sha256}"
    return None


def _is_complete(model: ZooModel, target: Path) -> bool:
    """Whether the right file is at `target`.

    Raises DownloadFailed for a different file of that name: it may be the user's own, so it is never overwritten.
    """
    if not target.exists():
        if target.is_symlink():
            raise DownloadFailed(f"{broken_link(target)}\n{how_to_get(model, target.parent)}")
        return False
    wrong = difference(model, target) if target.is_file() else "it is not a file"
    if wrong is None:
        return True
    raise DownloadFailed(
        f"{target} exists, but is not the known file: {wrong}. It was left as it is.\n"
        f"Rename or delete it, then run again.\n{how_to_get(model, target.parent)}"
    )


def _check_space(model: ZooModel, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < model.bytes:
        raise DownloadFailed(
            f"No room for {model.file} in {folder}: it needs {model.bytes / 1e6:.1f} MB, "
            f"{free / 1e6:.1f} MB are free.\nFree some space, then run again.\n{how_to_get(model, folder)}",
            "no_room",
        )


@contextlib.contextmanager
def _part_file(model: ZooModel, folder: Path) -> Iterator[Path]:
    """A new empty temporary file in `folder`, deleted on exit unless it was renamed.

    It is in the target's folder because a rename is atomic only within one file system. Its random name is never
    shared with another run, and ComfyUI does not list ".part" files as models.
    """
    made_folder = not folder.exists()
    folder.mkdir(exist_ok=True)
    part = folder / f".{model.file}.{secrets.token_hex(8)}.part"
    try:
        part.open("xb").close()
        _remove_stale(model, part)
        yield part
    finally:
        part.unlink(missing_ok=True)
        if made_folder:
            with contextlib.suppress(OSError):  # not empty: the model was saved there
                folder.rmdir()


def _remove_stale(model: ZooModel, part: Path) -> None:
    """Delete part files left by killed runs. Ages are by the file system's clock, which may be a server's."""
    now = part.stat().st_mtime
    for other in part.parent.glob(f".{model.file}.*.part"):
        with contextlib.suppress(OSError):  # already deleted, or no permission: harmless
            if now - other.stat().st_mtime > _STALE_S:
                other.unlink()


def _fetch_from_any(job: _Job) -> None:
    """Fill the part file from the first address that delivers the right file."""
    failures: list[str] = []
    for url in job.model.urls:
        try:
            _fetch(job, url)
        except _AddressError as error:
            failures.append(f"  {urlsplit(url).hostname}: {error}\n")
        else:
            return
    folder = job.part.parent
    raise DownloadFailed(
        f"Could not download {job.model.file}; nothing of it was kept.\n"
        f"{how_to_get(job.model, folder)}\nWhat was tried:\n{''.join(failures)}".rstrip(),
        "no_connection" if all(failure.endswith(f"{NO_CONNECTION}\n") for failure in failures) else "not_fetched",
    )


def _fetch(job: _Job, url: str) -> None:
    """Fill the part file from one address, resuming interrupted transfers, and verify it."""
    os.truncate(job.part, 0)  # never mix two servers: bad data from one would spoil the other
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _fetch_rest(job, url)
            break
        except _IncompleteError:
            if attempt == _ATTEMPTS:
                raise
    if wrong := difference(job.model, job.part):
        raise _AddressError(f"the server sent another file: {wrong}")


def _fetch_rest(job: _Job, url: str) -> None:
    """Request the missing rest of the part file, once."""
    received = job.part.stat().st_size
    job.report(received)
    # No If-Range needed: the sha256 detects a file that changed on the server.
    headers = {**_HEADERS, "Range": f"bytes={received}-"} if received else _HEADERS
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=job.timeout)
    except (OSError, urllib3.exceptions.HTTPError) as error:
        raise _AddressError(_describe(error, job.timeout)) from error
    with response, job.part.open("r+b") as file:
        start = _body_start(response, received, job.model.bytes)
        file.truncate(start)
        file.seek(start)
        for chunk in _chunks(response, job.model.bytes - start, job.timeout):
            file.write(chunk)
            job.report(file.tell())
        file.flush()
        os.fsync(file.fileno())  # otherwise a power failure could leave an empty file under the final name


def _body_start(response: requests.Response, received: int, total: int) -> int:
    """File offset of the first byte of the body: `received`, or 0 if the server does not support ranges."""
    if response.status_code not in (200, 206):
        raise _AddressError(f"HTTP {response.status_code} {response.reason}")
    start = received if response.status_code == 206 else 0
    if response.status_code == 206:
        content_range = response.headers.get("Content-Range", "")
        if not re.fullmatch(rf"bytes {received}-{total - 1}/({total}|\*)", content_range):
            raise _AddressError(f'asked for bytes {received}-{total - 1}/{total}, got "{content_range}"')
    length = response.headers.get("Content-Length")
    if length is not None and length != str(total - start):
        raise _AddressError(f"the server offers {length} bytes instead of {total - start}")
    return start


def _chunks(response: requests.Response, expected: int, timeout: tuple[float, float]) -> Iterator[bytes]:
    """Yield the body as it arrives: exactly `expected` bytes. Raises _AddressError if fewer arrive."""
    # read1 returns whatever has arrived; read would lose an incomplete chunk when the connection breaks.
    # urllib3 1.x has no read1: there, up to one chunk is downloaded again.
    read = getattr(response.raw, "read1", response.raw.read)
    remaining = expected
    reason = "connection closed"
    try:
        while remaining > 0 and (chunk := read(min(_CHUNK, remaining))):
            remaining -= len(chunk)
            yield chunk
    except (OSError, urllib3.exceptions.HTTPError) as error:
        reason = _describe(error, timeout)
    if remaining > 0:
        kind = _IncompleteError if remaining < expected else _AddressError
        raise kind(f"{remaining} bytes were still to come: {reason}")


def _describe(error: Exception, timeout: tuple[float, float]) -> str:
    if isinstance(error, (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)):
        return f"no connection within {timeout[0]:g} s"
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return f"no data for {timeout[1]:g} s"
    if isinstance(error, requests.ConnectionError):
        return NO_CONNECTION  # the original message is long and adds nothing
    return f"connection failed: {error}"
