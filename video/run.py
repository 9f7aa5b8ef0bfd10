"""The entry points: `run_video` computes a job, `upscale_video` prepares one and runs it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from av.error import FFmpegError
from torch import Tensor

from .. import engine
from ..apisr_archs.text import shown
from ..engine import Callbacks, Cancelled, Placement, arguments, devices
from ..engine.options import DEFAULT_PLACEMENT, NO_CALLBACKS
from . import codecs, disk, mux, parts
from .encode import Planes, encode_part, explained, stored
from .errors import UnwritableVideo
from .job import VideoJob, prepare_video
from .parts import Part, PartFolder
from .pipeline import read_ahead, write_behind
from .reader import read_clip, read_frames
from .source import WHOLE, Source, Window
from .status import Status

READ_AHEAD, WRITE_BEHIND = 4, 2
"""Number of pictures in the queues before and behind the network."""
IN_FLIGHT = WRITE_BEHIND + 4
"""Results in memory at a time: queued, being computed, compared, waiting to be queued, and encoded."""

CONVERTING = ("cuda",)
"""Types of devices on which results stay until they are converted, at once: a CPU takes longer for it
than a fast GPU for the network (0.7 s per frame of 5120x2880 beside an H200), and an eighth of the bytes is to be
copied."""

OnFrame = Callable[[Status], None]
"""Called after each frame."""


class _Result(NamedTuple):
    picture: Tensor | Planes
    start: int
    duration: int


def results_of(device: torch.device) -> tuple[torch.dtype, torch.device]:
    """The dtype and the device of the results of a network on `device`."""
    return torch.float32, device if device.type in CONVERTING else devices.CPU


def run_video(
    model: Any,
    job: VideoJob,
    target: Path,
    folder: Path,
    placement: Placement = DEFAULT_PLACEMENT,
    callbacks: Callbacks = NO_CALLBACKS,
    on_frame: OnFrame | None = None,
    *,
    cpu_fallback: bool = False,
) -> Path:
    """Upscale a video, and return the path of the result.

    Decoding, the network and encoding run at the same time. A run that ends early keeps its finished parts, and the
    next one with the same source, model and settings goes on from there.

    Args:
        job: from `prepare_video`, for this model.
        target: the result. Unless it ends in .mp4, .mov or .mkv, that of these which keeps most of the source is added.
        folder: where finished parts are kept until the result is complete.
        placement, callbacks, cpu_fallback: see `engine.session`.

    Raises:
        UnreadableVideo: a frame in the middle is interlaced or has another size.
        UnwritableVideo: the codec does not fit the file or the frames, or the result would replace the source.
        NotEnoughDisk: the disk is full, or will be.
        Cancelled, NotEnoughMemory: see `engine.upscale`.
    """
    containers = mux.containers(target, job.encoding)
    _require_another_file(job.source, [_named(target, mux.suffix_of(container)) for container in containers])
    for line in job.notes():
        callbacks.warn(line)
    store = PartFolder(folder / job.fingerprint, codecs.CODECS[job.encoding.codec].suffix)
    try:
        store.create()
        finished = store.finished()
        with _session(model, job, _frames_in(finished), placement, callbacks, cpu_fallback=cpu_fallback) as upscale_one:
            finished = _compute(job, upscale_one, store, finished, target.parent, callbacks, on_frame)
        path = _joined(job, finished, target, containers, callbacks)
        store.remove()
        return path
    except (FFmpegError, OSError) as error:
        raise explained(error, job.encoding, job.look) from error
    finally:
        store.remove_unfinished()


def _session(
    model: Any, job: VideoJob, skipped: int, placement: Placement, callbacks: Callbacks, *, cpu_fallback: bool
) -> AbstractContextManager[engine.Session]:
    """The engine's session for the frames after the first `skipped`."""
    if skipped:
        callbacks.tell(f"{skipped} frames were finished before; going on from there.")
    device = placement.device or torch.device(getattr(model, "device", "cpu"))
    dtype, results_device = results_of(device)
    budget = placement.budget
    if budget is None:
        reserved = IN_FLIGHT * job.engine.picture_bytes(dtype)
        budget = devices.network_budget(reserved, device, results_device)
        if results_device.type != "cpu":  # they are not allocated yet
            budget = max(0, budget - reserved)
    return engine.session(
        model,
        replace(job.engine, count=max(1, job.clip.frames - skipped)),
        Placement(device, budget, dtype, results_device),
        callbacks,
        reuse_frames=job.reuse_frames,
        tolerance=job.tolerance,
        cpu_fallback=cpu_fallback,
    )


def _compute(
    job: VideoJob,
    upscale_one: engine.Session,
    store: PartFolder,
    finished: list[Part],
    target: Path,
    callbacks: Callbacks,
    on_frame: OnFrame | None,
) -> list[Part]:
    """Compute the frames that no finished part holds; returns all parts. target: the folder of the result."""
    finished = [*finished]
    skipped = _frames_in(finished)
    check, begun = partial(_check, callbacks), time.perf_counter()

    def encode(results: Iterator[_Result]) -> None:
        for results_of_part in _grouped(results, parts.FRAMES):
            _require_space(job, finished, store.folder, target)
            finished.append(_encode_part(job, store, len(finished), results_of_part))

    frames = read_frames(job.source, job.clip, skipped, callbacks.warn)
    convert = _converter(job)
    with read_ahead(frames, READ_AHEAD, check) as pictures, write_behind(encode, WRITE_BEHIND, check) as put:
        for number, frame in enumerate(pictures, start=skipped):
            if number % parts.FRAMES == 0:
                upscale_one.forget()  # so that a run that goes on from here gives the same frames
            result = upscale_one(frame.picture)
            put(_Result(convert(result), frame.start, frame.duration))
            if on_frame:
                seconds = time.perf_counter() - begun
                on_frame(Status(number + 1, job.clip.frames, skipped, seconds, upscale_one.reused, result))
    return finished


def _frames_in(finished: Sequence[Part]) -> int:
    return sum(len(part.times) for part in finished)


def _converter(job: VideoJob) -> Callable[[Tensor], Tensor | Planes]:
    """Converts a result on one of the `CONVERTING` devices; others are left to the encoder's thread.

    The same object comes out for the same tensor.
    """
    last: tuple[Tensor, Planes] | None = None

    def convert(picture: Tensor) -> Tensor | Planes:
        nonlocal last
        if picture.device.type not in CONVERTING:
            return picture
        if last is None or picture is not last[0]:
            last = picture, stored(picture, job.encoding, job.look)
        return last[1]

    return convert


def _encode_part(job: VideoJob, store: PartFolder, number: int, results: Iterator[_Result]) -> Part:
    times: list[tuple[int, int]] = []

    def pictures() -> Iterator[Tensor | Planes]:
        for result in results:
            times.append((result.start, result.duration))
            yield result.picture

    encode_part(store.file(number), job.encoding, job.look, pictures())
    return store.finish(number, times)


def _joined(
    job: VideoJob, finished: Sequence[Part], target: Path, containers: Sequence[str], callbacks: Callbacks
) -> Path:
    """Write the result from all parts, under another name until it is complete."""
    kept = mux.choose_container(job.source, job.clip, finished[0].path, containers)
    for lost in kept.lost:
        callbacks.warn(f"Left out, since {kept.suffix[1:]} cannot hold it: {lost} of {job.clip.name}.")
    path = _named(target, kept.suffix)
    partial_path = path.with_name(path.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        mux.write_video(job.source, job.clip, finished, kept, partial_path, partial(_check, callbacks))
        partial_path.replace(path)
    finally:
        partial_path.unlink(missing_ok=True)
    return path


def _named(target: Path, suffix: str) -> Path:
    return target if target.suffix.lower() == suffix else target.with_name(target.name + suffix)


def _require_another_file(source: Source, results: Sequence[Path]) -> None:
    """Raises UnwritableVideo if one of the paths that the result may get is the source's."""
    for path in results:
        with suppress(OSError):  # there is no such file
            if isinstance(source, (str, Path)) and path.samefile(source):
                name = shown(path.name)
                raise UnwritableVideo(f"The result could replace {name}, its source. Give it another name or folder.")


def _require_space(job: VideoJob, finished: Sequence[Part], folder: Path, target: Path) -> None:
    written = sum(part.bytes for part in finished)
    done = _frames_in(finished)
    each = written / done if done else disk.bytes_per_frame(job.encoding, *job.look.encoded_size)
    disk.require_space(folder, target, written, each * max(done, job.clip.frames))


def _check(callbacks: Callbacks) -> None:
    if callbacks.is_cancelled and callbacks.is_cancelled():
        raise Cancelled("Cancelled.")


def _grouped(items: Iterator[_Result], size: int) -> Iterator[Iterator[_Result]]:
    """The items in groups; each group must be used up before the next."""
    for first in items:
        yield chain([first], islice(items, size - 1))


def upscale_video(
    model: Any,
    source: Source,
    target: str | Path,
    *,
    window: tuple[float, float] = WHOLE,
    placement: Placement = DEFAULT_PLACEMENT,
    callbacks: Callbacks = NO_CALLBACKS,
    on_frame: OnFrame | None = None,
    cpu_fallback: bool = False,
    **settings: Any,
) -> Path:
    """Upscale a video file into another one, and return its path. Memory use does not grow with the length.

    Every frame is in the result once, at its own time. Sound, subtitles, chapters and attachments are copied. A run
    that was cut off goes on from its last finished part, kept beside the target in a folder ending in ".parts".

    Args:
        window: start and duration in seconds of the part to upscale; a duration of 0 means up to the end.
        target, placement, callbacks, on_frame, cpu_fallback: see `run_video`.
        settings: size, codec, quality and all others that `prepare_video` takes by name.

    Raises what `read_clip`, `prepare_video` and `run_video` raise.
    """
    target = Path(target).absolute()  # see `source.opened`
    if not target.name:
        raise ValueError(f"target is {str(target)!r}; expected the path of the file to write.")
    start, duration = (arguments.not_negative(value, f"window[{place}]") for place, value in enumerate(window))
    job = prepare_video(model, source, read_clip(source, Window(start, duration)), **settings)
    folder = target.with_name(f"{target.name}.parts")
    return run_video(model, job, target, folder, placement, callbacks, on_frame, cpu_fallback=cpu_fallback)
