"""Fetch a known weight file: verified before it gets its name, and nothing left behind when that fails.

`APISR_OFFLINE=1` (or `true`, `yes`) in the environment forbids every connection.
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
"""Seconds to wait for a connection, and for the next byte."""

_ATTEMPTS = 4  # per address: the first, and three that resume a cut connection
_CHUNK = 1 << 16  # bytes
_STALE_S = 3600.0  # a live download writes far more often than this
# identity: size, ranges and hash are those of the file itself, not of a compressed form
_HEADERS = {"User-Agent": "ComfyUI-APISR", "Accept-Encoding": "identity"}


class _AddressError(Exception):
    """One address did not give the right file; the text says why."""


class _CutError(_AddressError):
    """The body stopped early but had brought something: worth resuming."""


@dataclass(frozen=True)
class _Job:
    model: ZooModel
    part: Path
    tick: Callable[[int], None]  # called with the bytes that `part` holds; may raise to end the download
    timeout: tuple[float, float]  # as TIMEOUT_S


def download(
    model: ZooModel,
    folder: Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    timeout: tuple[float, float] = TIMEOUT_S,
) -> Path:
    """Put the verified file of `model` in `folder` and return its path.

    A right file that is there already is returned untouched. `folder` is made if its parent exists.
    `on_progress(bytes done, bytes in all)` starts again from 0 when the next address is tried. It may raise
    to end the download; so does `is_cancelled` by returning True. While a server is silent neither is asked,
    for as long as `timeout`: seconds to connect, seconds between two bytes.

    Raises DownloadFailed: says what was wrong with every address, or with the folder.
    """
    target = folder / model.file

    def tick(done: int) -> None:
        if is_cancelled is not None and is_cancelled():
            raise DownloadFailed(f"The download of {model.file} was cancelled; nothing of it was kept.")
        if on_progress is not None:
            on_progress(done, model.bytes)

    try:
        if _is_there(model, target):
            return target
        refuse_offline(model, folder)
        with _part_file(model, folder) as part:
            _check_space(model, folder)
            _fetch_from_any(_Job(model, part, tick, timeout))
            if not _is_there(model, target):  # another process may have been faster
                part.replace(target)
        return target
    except OSError as error:  # the network's own are _AddressError by now, so this is the disk
        reason = error.strerror or error
        raise DownloadFailed(
            f"Could not save {model.file} in {folder}: {reason}.\n"
            f"Check that this is a folder that you may write to, with {model.bytes / 1e6:.1f} MB free.\n"
            f"{how_to_get(model, folder)}"
        ) from error


def refuse_offline(model: ZooModel, folder: Path) -> None:
    """Raises DownloadFailed, which says how to get the file, if the environment forbids connections."""
    if os.environ.get("APISR_OFFLINE", "").strip().lower() in {"1", "true", "yes"}:
        raise DownloadFailed(
            f"The model file {model.file} is not in {folder}, and APISR_OFFLINE forbids to download it.\n"
            f"Start this program without APISR_OFFLINE, or get it by hand.\n{how_to_get(model, folder)}"
        )


def broken_link(link: Path) -> str:
    """What is wrong with a link whose target is not there, and what to do about it."""
    return (
        f"{link} is a broken link: its target {link.readlink()} is not there. Put the file there, or delete the link."
    )


def difference(model: ZooModel, path: Path) -> str | None:
    """How the file differs from the known one, in words; None if it does not. Reads the whole file. Raises OSError."""
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


def _is_there(model: ZooModel, target: Path) -> bool:
    """Whether the right file has its place; a different one of that name is the user's, and stays."""
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
            f"{free / 1e6:.1f} MB are free.\nFree some space, then run again.\n{how_to_get(model, folder)}"
        )


@contextlib.contextmanager
def _part_file(model: ZooModel, folder: Path) -> Iterator[Path]:
    """An empty file of our own in `folder`, gone afterwards unless it was renamed.

    It lies beside the target because a rename is atomic only within one file system. No other run has its
    name, and ".part" is no suffix that ComfyUI lists as a model.
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
            with contextlib.suppress(OSError):  # not empty: it holds the model now
                folder.rmdir()


def _remove_stale(model: ZooModel, part: Path) -> None:
    """Delete what runs that were killed have left; ages by the clock of the disk, which may be a server's."""
    now = part.stat().st_mtime
    for other in part.parent.glob(f".{model.file}.*.part"):
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to delete: no reason to stop
            if now - other.stat().st_mtime > _STALE_S:
                other.unlink()


def _fetch_from_any(job: _Job) -> None:
    """Fill the part file, verified, from the first address that has the right file."""
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
        f"Could not download {job.model.file} into {folder}; nothing of it was kept.\n"
        f"{''.join(failures)}{how_to_get(job.model, folder)}"
    )


def _fetch(job: _Job, url: str) -> None:
    """Fill the part file from one address, resuming a cut connection, and verify it."""
    os.truncate(job.part, 0)  # never mix two servers: a bad start from one would spoil the other
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _fetch_rest(job, url)
            break
        except _CutError:
            if attempt == _ATTEMPTS:
                raise
    if wrong := difference(job.model, job.part):
        raise _AddressError(f"the server sent another file: {wrong}")


def _fetch_rest(job: _Job, url: str) -> None:
    """One request, for what the part file lacks."""
    have = job.part.stat().st_size
    job.tick(have)
    # No If-Range: only one content is right, and the sha256 finds out about any other.
    headers = {**_HEADERS, "Range": f"bytes={have}-"} if have else _HEADERS
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=job.timeout)
    except (OSError, urllib3.exceptions.HTTPError) as error:
        raise _AddressError(_in_words(error, job.timeout)) from error
    with response, job.part.open("r+b") as file:
        start = _body_start(response, have, job.model.bytes)
        file.truncate(start)
        file.seek(start)
        for chunk in _chunks(response, job.model.bytes - start, job.timeout):
            file.write(chunk)
            job.tick(file.tell())
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave the final name on an empty file


def _body_start(response: requests.Response, have: int, total: int) -> int:
    """Offset in the file of the first byte of the body: `have`, or 0 from a server without ranges."""
    if response.status_code not in (200, 206):
        raise _AddressError(f"HTTP {response.status_code} {response.reason}")
    start = have if response.status_code == 206 else 0
    if response.status_code == 206:
        content_range = response.headers.get("Content-Range", "")
        if not re.fullmatch(rf"bytes {have}-{total - 1}/({total}|\*)", content_range):
            raise _AddressError(f'asked for bytes {have}-{total - 1}/{total}, got "{content_range}"')
    length = response.headers.get("Content-Length")
    if length is not None and length != str(total - start):
        raise _AddressError(f"the server offers {length} bytes instead of {total - start}")
    return start


def _chunks(response: requests.Response, expected: int, timeout: tuple[float, float]) -> Iterator[bytes]:
    """The body as it arrives: exactly `expected` bytes, never one more, or _AddressError."""
    # read1 hands over what has arrived; read would drop a part of a chunk when the connection is cut.
    # urllib3 1.x has no read1: there at most one chunk is fetched again.
    read = getattr(response.raw, "read1", response.raw.read)
    left = expected
    reason = "connection closed"
    try:
        while left > 0 and (chunk := read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
    except (OSError, urllib3.exceptions.HTTPError) as error:
        reason = _in_words(error, timeout)
    if left > 0:
        kind = _CutError if left < expected else _AddressError
        raise kind(f"{left} bytes were still to come: {reason}")


def _in_words(error: Exception, timeout: tuple[float, float]) -> str:
    if isinstance(error, (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)):
        return f"no connection within {timeout[0]:g} s"
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return f"no data for {timeout[1]:g} s"
    if isinstance(error, requests.ConnectionError):
        return "no connection; is this machine online?"  # the error's own text is long and says no more
    return f"connection failed: {error}"
