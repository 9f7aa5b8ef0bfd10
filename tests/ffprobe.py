"""What is in a video file, as the ffprobe and ffmpeg programs see it: a second opinion that is neither ours nor PyAV's.

Times are exact fractions of a second, made of the integers in the file and the stream's time base; ffprobe's decimal
strings are rounded and never used. All functions take a stream as its index in the file, 0 for the first.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

INSTALL = "needed by the tests of video files: install ffmpeg, e.g. `apt-get install ffmpeg` or `brew install ffmpeg`"


class Packet(NamedTuple):
    """One packet as it lies in the file. `pts`, `dts` and `duration` are in seconds, None where the file has none."""

    pts: Fraction | None
    dts: Fraction | None
    duration: Fraction | None
    size: int
    hash: str
    key: bool


class Chapter(NamedTuple):
    """One chapter, `start` and `end` in seconds."""

    start: Fraction
    end: Fraction
    title: str


def program(name: str) -> str:
    """The path of "ffprobe" or "ffmpeg". A machine without it fails the test, and the text says what to install."""
    path = shutil.which(name)
    if path is None:
        raise AssertionError(f"The program {name} is not there. It is {INSTALL}.")
    return path


def run(name: str, *arguments: str | Path) -> bytes:
    """Run a program of ffmpeg's quietly and return what it printed; AssertionError with its errors if it fails."""
    command = [program(name), "-v", "error"]
    done = subprocess.run([*command, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 0, f"{name} {' '.join(map(str, arguments))}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def probe(path: Path, *arguments: str) -> dict[str, Any]:
    """What `ffprobe ARGUMENTS path` prints, from JSON."""
    return json.loads(run("ffprobe", "-of", "json", *arguments, path))


def streams(path: Path) -> list[dict[str, Any]]:
    """All streams in the order of the file, in ffprobe's words.

    Among them: codec_type, codec_name, pix_fmt, width, height, sample_aspect_ratio, color_range, color_space,
    color_transfer, color_primaries, field_order, time_base, start_pts, duration_ts, channels, channel_layout, tags
    (language, title, filename, mimetype), disposition (names to 0 or 1), side_data_list. A fact that is unknown is
    left out, so ask by `.get`.
    """
    return probe(path, "-show_streams")["streams"]


def container(path: Path) -> dict[str, Any]:
    """Facts of the file as a whole: format_name, tags (title, ...)."""
    return probe(path, "-show_format")["format"]


def video(path: Path) -> dict[str, Any]:
    """The first video stream that is no cover picture, as `streams` has it."""
    return next(
        one for one in streams(path) if one["codec_type"] == "video" and not one["disposition"].get("attached_pic")
    )


def frames(path: Path, stream: int | None = None) -> list[tuple[Fraction, Fraction | None]]:
    """Time and duration in seconds of each decoded frame in order of presentation, of `video` if no stream is given.

    The duration is what the file says, None if it says nothing. Where frames are reordered (B-frames in mp4) it
    belongs to the order of the packets, so the real one is the distance to the next frame's time. AssertionError for
    files that store no times (H.264 with B-frames in AVI): `decoded` reads those.
    """
    facts = video(path) if stream is None else streams(path)[stream]
    found = decoded(path, facts["index"])
    base = Fraction(facts["time_base"])
    assert all("best_effort_timestamp" in one for one in found), f"{path.name} has frames without a time"
    times = [(one["best_effort_timestamp"] * base, one.get("duration", one.get("pkt_duration"))) for one in found]
    return [(time, None if duration is None else duration * base) for time, duration in times]


def decoded(path: Path, stream: int = 0) -> list[dict[str, Any]]:
    """Each decoded frame as ffprobe describes it: interlaced_frame, top_field_first, pict_type, color_range, ..."""
    return probe(path, "-select_streams", str(stream), "-show_frames").get("frames", [])


def packets(path: Path, stream: int = 0) -> list[Packet]:
    """All packets of one stream in the order of the file; the hash is the SHA-256 of the bytes."""
    base = Fraction(streams(path)[stream]["time_base"])
    chosen = ("-select_streams", str(stream), "-show_packets", "-show_data_hash", "sha256")

    def seconds(packet: dict[str, Any], name: str) -> Fraction | None:
        return packet[name] * base if name in packet else None

    return [
        Packet(
            *(seconds(one, name) for name in ("pts", "dts", "duration")),
            size=int(one["size"]),
            hash=one.get("data_hash", ""),
            key=one["flags"].startswith("K"),
        )
        for one in probe(path, *chosen).get("packets", [])
    ]


def chapters(path: Path) -> list[Chapter]:
    """The chapters in their order."""
    found = probe(path, "-show_chapters")["chapters"]
    bases = [Fraction(one["time_base"]) for one in found]
    return [
        Chapter(one["start"] * base, one["end"] * base, one.get("tags", {}).get("title", ""))
        for one, base in zip(found, bases, strict=True)
    ]


def extradata(path: Path, stream: int) -> str:
    """A hash of what a stream carries outside of its packets: a font's bytes, the header of ASS subtitles."""
    found = probe(path, "-select_streams", str(stream), "-show_streams", "-show_data_hash", "sha256")["streams"]
    return found[0].get("extradata_hash", "")


def planes(path: Path, stream: int | None = None) -> list[list[np.ndarray]]:
    """The decoded frames without any conversion: per frame its planes as they are stored.

    Planes are (height, width) and (height, width, channels) for packed RGB, of uint8 or uint16. Nothing is rotated,
    dropped or repeated.
    """
    facts = video(path) if stream is None else streams(path)[stream]
    pix_fmt, width, height = facts["pix_fmt"], facts["width"], facts["height"]
    data = _raw(path, facts["index"], pix_fmt)
    shapes, kind = _layout(pix_fmt, height, width)
    flat = np.frombuffer(data, kind)
    one_frame = sum(int(np.prod(shape)) for shape in shapes)
    assert flat.size % one_frame == 0, f"{path.name}: {flat.size} values are no whole frames of {one_frame}"
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    return [
        [plane.reshape(shape) for plane, shape in zip(np.split(frame, ends), shapes, strict=True)]
        for frame in flat.reshape(-1, one_frame)
    ]


def pixels(path: Path, stream: int | None = None, channels: int = 3) -> np.ndarray:
    """The decoded frames as ffmpeg's own conversion makes them, uint8 (frames, height, width, 3 or 4), not rotated."""
    facts = video(path) if stream is None else streams(path)[stream]
    data = _raw(path, facts["index"], {3: "rgb24", 4: "rgba"}[channels])
    return np.frombuffer(data, np.uint8).reshape(-1, facts["height"], facts["width"], channels)


def sound(path: Path, stream: int) -> np.ndarray:
    """The decoded samples of an audio stream, float32 (samples, channels)."""
    data = run("ffmpeg", "-i", path, "-map", f"0:{stream}", "-f", "f32le", "-c:a", "pcm_f32le", "-")
    return np.frombuffer(data, np.float32).reshape(-1, streams(path)[stream]["channels"])


def _raw(path: Path, stream: int, pix_fmt: str) -> bytes:
    chosen = ("-noautorotate", "-i", path, "-map", f"0:{stream}", "-vsync", "passthrough")
    return run("ffmpeg", *chosen, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-")


def _layout(pix_fmt: str, height: int, width: int) -> tuple[list[tuple[int, ...]], type[np.generic]]:
    """Shapes of the planes of one frame as rawvideo has them, and the type of a value."""
    packed = {"rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4, "argb": 4, "abgr": 4, "bgr0": 4}
    if pix_fmt in packed:
        return [(height, width, packed[pix_fmt])], np.uint8
    name, deep = pix_fmt, np.uint8
    for ending in ("10le", "12le", "16le"):
        if pix_fmt.endswith(ending):
            name, deep = pix_fmt.removesuffix(ending).removesuffix("p") + "p", np.uint16
    whole = (height, width)
    half_wide = (height, (width + 1) // 2)
    shapes = {
        "gray": [whole],
        "grayp": [whole],
        "gbrp": [whole] * 3,
        "gbrap": [whole] * 4,
        "yuv444p": [whole] * 3,
        "yuva444p": [whole] * 4,
        "yuv422p": [whole, half_wide, half_wide],
    }
    quarter = ((height + 1) // 2, (width + 1) // 2)
    shapes |= {"yuv420p": [whole, quarter, quarter], "yuva420p": [whole, quarter, quarter, whole]}
    shapes |= {"yuvj420p": shapes["yuv420p"], "yuvj422p": shapes["yuv422p"], "yuvj444p": shapes["yuv444p"]}
    assert name in shapes, f"tests/ffprobe.py does not know the planes of {pix_fmt}: add a line to _layout"
    return shapes[name], deep
