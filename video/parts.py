"""The finished parts of a video, kept in a folder, so that a run that was cut off can go on.

A part is a video file of encoded frames and, written after it, a list of their times. Only with the list it counts.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .source import Source

FRAMES = 96
"""Number of frames in a part. Each part begins with a key frame and with a frame that is computed anew."""
STALE_AFTER = 7 * 24 * 3600
"""Seconds after which parts that nobody went on with are deleted."""


@dataclass(frozen=True)
class Part:
    """A finished part."""

    path: Path
    times: tuple[tuple[int, int], ...]
    """Start and duration of each frame, in ticks."""

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


@dataclass(frozen=True)
class PartFolder:
    """The parts of one video."""

    folder: Path
    suffix: str
    """Of the files, like ".mp4"."""

    def create(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def file(self, number: int) -> Path:
        """Where a part is written; complete only when it is in `finished`."""
        return self.folder / f"{number:06}{self.suffix}"

    def finished(self) -> list[Part]:
        """The finished parts from the beginning of the video on, without a gap."""
        return list(self._finished())

    def _finished(self) -> Iterator[Part]:
        number = 0
        while (part := self._read(number)) is not None:
            yield part
            number += 1

    def _read(self, number: int) -> Part | None:
        try:
            content: Any = json.loads(self._list(number).read_text(encoding="utf-8"))
            part = Part(self.file(number), tuple((start, length) for start, length in content["times"]))
            return part if part.bytes == content["bytes"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def finish(self, number: int, times: Sequence[tuple[int, int]]) -> Part:
        """Record that a part is complete."""
        part = Part(self.file(number), tuple(times))
        partial = self._list(number).with_suffix(".partial")
        partial.write_text(json.dumps({"times": times, "bytes": part.bytes}), encoding="utf-8")
        partial.replace(self._list(number))
        return part

    def _list(self, number: int) -> Path:
        return self.folder / f"{number:06}.json"

    def remove(self) -> None:
        """Delete all parts, and the folder around them if nothing else is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _remove_if_empty(self.folder.parent)

    def remove_unfinished(self) -> None:
        """Delete what is not a finished part, and the folders if nothing is left in them."""
        try:
            paths = list(self.folder.iterdir())
        except OSError:  # there is no folder
            return
        finished = {path for part in self.finished() for path in (part.path, part.path.with_suffix(".json"))}
        for path in paths:
            if path not in finished:
                path.unlink()
        _remove_if_empty(self.folder)
        _remove_if_empty(self.folder.parent)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # it is not empty, or gone
        folder.rmdir()


def remove_stale(folder: Path) -> None:
    """Delete folders of parts in `folder` that nothing has been written to for a long time."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.is_dir() and time.time() - entry.stat().st_mtime > STALE_AFTER:
            shutil.rmtree(entry, ignore_errors=True)


def fingerprint(source: Source, model: Any, *settings: object) -> str:
    """A name for the result of a source, a model and settings, of 32 hexadecimal digits.

    A file is known by its path, size and time of change, a video in memory by its contents, a model by its weights.
    """
    digest = hashlib.sha256(repr(settings).encode("utf-8", "surrogatepass"))
    if isinstance(source, (str, Path)):
        path = Path(source).resolve()
        status = path.stat()
        digest.update(os.fsencode(path) + f"|{status.st_size}|{status.st_mtime_ns}".encode())
    else:
        digest.update(source.getbuffer())
    digest.update(type(model).__qualname__.encode())
    for name, tensor in getattr(model, "model", model).state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
