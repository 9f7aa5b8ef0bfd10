"""Small videos of every kind that the tests of video files need, written by PyAV from the pictures in tests/art.

Each builder takes a folder and returns the path of the file it wrote there. The tables at the end name them all:

    CLIPS    whole files with pictures to upscale
    DAMAGED  files with pictures, of which some cannot be read
    REFUSED  files without any picture to upscale

`tests/unit/test_clips.py` asks ffprobe whether they are what they say. All x264 and x265 streams are made by one
thread, so a clip has the same bytes in every run of one version of PyAV. Pictures are uint8 RGB, (height, width, 3).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from apisr_pack.tests import trained
from av.codec.context import Flags
from av.stream import Disposition
from PIL import Image

Builder = Callable[[Path], Path]
Planes = list[np.ndarray]
"""A picture as the file stores it: uint8 or uint16 planes, (height, width) each."""

HEIGHT, WIDTH = 64, 96
FILM = Fraction(24000, 1001)
"""The usual frame rate of anime, in frames per second."""
SAMPLES = 48000
"""Audio samples per second."""

X264 = {"preset": "veryfast", "crf": "18", "threads": "1"}
X264_LOSSLESS = {"preset": "veryfast", "qp": "0", "threads": "1"}
X264_B_FRAMES = {**X264, "bf": "2", "b_strategy": "0"}
"""Two B-frames between any two others, whatever the pictures show."""
X265_LOSSLESS = {"preset": "ultrafast", "x265-params": "lossless=1:log-level=error:pools=none:frame-threads=1"}
HDR10 = ":hdr10=1:max-cll=1000,400:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
"""For x265: a screen with the primaries of P3 that reaches from 0.0001 to 1000 cd/m²."""
FFV1 = {"level": "3", "slicecrc": "1"}

FONT = b"\x00\x01\x00\x00" + bytes(range(256)) * 4
"""Stands for a font: the file format does not care."""
CHAPTERS = [(0, 400, "Opening"), (400, 1000, "Part A")]
"""Start and end in milliseconds, title."""
LINES = [(100, 300, "Hello, Sylvie"), (500, 400, "Good night")]
"""Subtitles: start and duration in milliseconds, text."""

ASS_HEADER = """[Script Info]
ScriptType: v4.00+
PlayResX: 96
PlayResY: 64

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Test Font,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


# Pictures


@cache
def scene(face: str = "normal", height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Sylvie's face in front of the university; `face` is "normal" or "smile"."""
    background, sprite = trained.art("bg_uni.jpg"), trained.art(f"sylvie_green_{face}.png")
    picture = trained.on_background(sprite, background, 20, 400)
    return _bytes(trained.crop(picture, 140, 545, height, width)[0].numpy())


def _bytes(picture: np.ndarray) -> np.ndarray:
    return (picture * 255).round().astype(np.uint8)


def expressions(count: int, hold: int) -> list[np.ndarray]:
    """The two faces in turn, each held for `hold` frames: drawn "on twos" or "on threes"."""
    faces = ("normal", "smile")
    return [scene(faces[frame // hold % 2]) for frame in range(count)]


def sliding(count: int) -> list[np.ndarray]:
    """A small figure that moves two pixels a frame to the right in front of a still background."""
    with Image.open(trained.ART / "sylvie_blue_normal.png") as whole:
        figure = np.asarray(whole.resize((28, 58), Image.Resampling.BOX), np.float32) / 255
    background = scene("normal") / np.float32(255)
    color, alpha = figure[..., :3], figure[..., 3:]
    pictures = []
    for frame in range(count):
        left = 2 * frame % (WIDTH - 28)
        picture = background.copy()
        behind = picture[6:64, left : left + 28]
        picture[6:64, left : left + 28] = alpha * color + (1 - alpha) * behind
        pictures.append(_bytes(picture))
    return pictures


def fade(count: int = 96) -> list[np.ndarray]:
    """From black to a picture, a little brighter with every frame."""
    return [(scene("smile") * np.float32(frame / (count - 1))).round().astype(np.uint8) for frame in range(count)]


def gradient_planes(count: int, chroma: tuple[int, int] = (2, 2)) -> list[Planes]:
    """10-bit luma that grows by one level a column, finer than 8 bits can hold; moves one column a frame."""
    ramp = np.arange(400, 400 + WIDTH + count, dtype=np.uint16)
    grey = np.full((HEIGHT // chroma[0], WIDTH // chroma[1]), 512, np.uint16)
    return [[np.tile(ramp[frame : frame + WIDTH], (HEIGHT, 1)), grey, grey] for frame in range(count)]


def card_colors() -> np.ndarray:
    """The eight patches of the colour cards, uint8 R'G'B' (8, 3)."""
    named = {"white": (255, 255, 255), "red": (235, 30, 30), "green": (30, 220, 40), "blue": (25, 40, 230)}
    named |= {"black": (0, 0, 0), "grey": (128, 128, 128), "skin": (250, 210, 180), "hair": (70, 160, 130)}
    return np.array(list(named.values()), np.uint8)


def card() -> np.ndarray:
    """The picture that every colour card shows: two rows of four flat patches, 32 x 24 pixels each."""
    patches = card_colors().reshape(2, 4, 3)
    return patches.repeat(HEIGHT // 2, axis=0).repeat(WIDTH // 4, axis=1)


LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
"""The weights of red and blue in luma, as the recommendations print them."""


def card_planes(matrix: str, bits: int, full: bool = False) -> Planes:
    """The card as 4:2:0 planes by the formulas of BT.601, BT.709 or BT.2020: nobody's library takes part."""
    red_weight, blue_weight = LUMA[matrix]
    red, green, blue = np.moveaxis(card() / 255, -1, 0)
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    chroma = [(blue - luma) / (2 - 2 * blue_weight), (red - luma) / (2 - 2 * red_weight)]
    unit, top = 2 ** (bits - 8), 2**bits - 1
    y = luma * top if full else unit * (16 + 219 * luma)
    cb, cr = (unit * 128 + value * (top if full else unit * 224) for value in chroma)
    kind = np.uint8 if bits == 8 else np.uint16
    return [plane.round().clip(0, top).astype(kind) for plane in (y, cb[::2, ::2], cr[::2, ::2])]


# Streams of a file that is being written


def opened(path: Path, **options: str) -> AbstractContextManager[av.container.OutputContainer]:
    """A new file; `options` are those of its format."""
    return av.open(str(path), "w", options=options)


def write(out: av.container.OutputContainer, *streams: list[av.Packet]) -> None:
    """Write the packets of all streams, in the order of their times. Without a packet only the header is written."""
    out.start_encoding()
    packets = [packet for stream in streams for packet in stream]
    for packet in sorted(packets, key=lambda one: (one.dts if one.dts is not None else 0) * one.time_base):
        out.mux(packet)


def add_video(
    out: av.container.OutputContainer,
    pictures: Iterable[np.ndarray | Planes],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rate: Fraction = FILM,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    last: int = 1,
    start: int = 0,
    tags: dict[str, int] | None = None,
    **attributes: Any,
) -> list[av.Packet]:
    """Add a video stream and return its packets.

    `pictures`: RGB or RGBA, converted to `pix_fmt` by PyAV, or planes that are stored as they are.
    `times`: when each frame begins, in `time_base`, which is 1/rate if none is given; without it frame n begins at
    `start` + n. `last` is how long the last frame lasts. `tags`: color_range, colorspace, color_primaries and
    color_trc by their numbers in the standard (H.273; color_range is ffmpeg's: 1 limited, 2 full). `attributes` are
    set on the codec's context.
    """
    pictures = list(pictures)
    height, width = (pictures[0][0] if isinstance(pictures[0], list) else pictures[0]).shape[:2]
    chosen = {"libx264": X264, "libx265": X265_LOSSLESS, "ffv1": FFV1}.get(codec, {}) if options is None else options
    stream: Any = out.add_stream(codec, rate=rate, options=dict(chosen))
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = width, height, pix_fmt
    context.time_base = time_base = time_base or 1 / rate
    context.flags |= Flags.frame_duration
    for name, value in {**(tags or {}), **attributes}.items():
        setattr(context, name, value)
    times = list(times) if times is not None else [start + frame for frame in range(len(pictures))]
    lengths = [after - before for before, after in pairwise(times)] + [last]
    packets = []
    for picture, time, length in zip(pictures, times, lengths, strict=True):
        frame = to_frame(picture, pix_fmt, tags or {})
        frame.pts, frame.duration, frame.time_base = time, length, time_base
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def to_frame(picture: np.ndarray | Planes, pix_fmt: str, tags: dict[str, int]) -> av.VideoFrame:
    """A frame of `pix_fmt` with this picture: planes are copied, RGB is converted by the matrix and range of `tags`."""
    if isinstance(picture, np.ndarray):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgba" if picture.shape[2] == 4 else "rgb24")
        frame = frame.reformat(
            format=pix_fmt, dst_colorspace=tags.get("colorspace", 5), dst_color_range=tags.get("color_range", 1)
        )
    else:
        height, width = picture[0].shape
        frame = av.VideoFrame(width, height, pix_fmt)
        for plane, values in zip(frame.planes, picture, strict=True):
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            stored = np.ascontiguousarray(values).view(np.uint8)
            rows[:, : stored.shape[1]] = stored
    for name, value in tags.items():
        setattr(frame, name, value)
    return frame


def add_audio(
    out: av.container.OutputContainer,
    seconds: Fraction | float = 1,
    codec: str = "aac",
    layout: str = "stereo",
    start: Fraction | float = 0,
    language: str | None = None,
    title: str | None = None,
) -> list[av.Packet]:
    """Add an audio stream, a different tone in each channel, and return its packets."""
    stream: Any = out.add_stream(codec, rate=SAMPLES, layout=layout)
    _name(stream, language, title)
    kind = stream.codec_context.format.name
    channels = stream.codec_context.layout.nb_channels
    beat = np.arange(int(seconds * SAMPLES)) * (2 * np.pi / SAMPLES)
    tones = np.stack([0.3 * np.sin(beat * 220 * (1 + channel)) for channel in range(channels)])
    values = tones.astype(np.float32) if kind.startswith("flt") else (tones * 32767).astype(np.int16)
    if not kind.endswith("p"):
        values = values.T.reshape(1, -1)
    size = stream.codec_context.frame_size or 1024
    packed = 1 if kind.endswith("p") else channels
    packets = []
    for first in range(0, len(beat), size):
        piece = np.ascontiguousarray(values[:, first * packed : (first + size) * packed])
        frame = av.AudioFrame.from_ndarray(piece, format=kind, layout=layout)
        frame.sample_rate, frame.time_base = SAMPLES, Fraction(1, SAMPLES)
        frame.pts = int(start * SAMPLES) + first
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def add_subtitles(
    out: av.container.OutputContainer,
    codec: str,
    language: str | None = None,
    title: str | None = None,
) -> list[av.Packet]:
    """Add LINES as "ass", "subrip" or "mov_text" and return the packets, which are what those formats store."""
    stream: Any = out.add_stream(codec)
    _name(stream, language, title)
    stream.codec_context.subtitle_header = ASS_HEADER.encode()
    stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
    packets = []
    for number, (start, length, text) in enumerate(LINES):
        stored = {
            "ass": f"{number},0,Default,,0,0,0,,{text}".encode(),
            "subrip": text.encode(),
            "mov_text": struct.pack(">H", len(text.encode())) + text.encode(),
        }
        packet = av.Packet(stored[codec])
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = start
        packet.duration, packet.is_keyframe = length, True
        packets.append(packet)
    return packets


def add_chapters(out: av.container.OutputContainer) -> None:
    """Give the file CHAPTERS."""
    out.set_chapters(
        [
            {"id": 1 + number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
            for number, (start, end, title) in enumerate(CHAPTERS)
        ]
    )


def _name(stream: Any, language: str | None, title: str | None) -> None:
    if language is not None:
        stream.metadata["language"] = language
    if title is not None:
        stream.metadata["title"] = title


def simple(
    folder: Path, name: str, pictures: Iterable[np.ndarray | Planes], format_options: dict[str, str] | None = None,
    **video: Any,
) -> Path:  # fmt: skip
    """A file with one video stream and nothing else; `video` are arguments of `add_video`."""
    path = folder / name
    with opened(path, **(format_options or {})) as out:
        write(out, add_video(out, pictures, **video))
    return path


# Motion


def held(folder: Path, hold: int, lossless: bool) -> Path:
    """24 frames of `expressions`, 2 or 3 frames each, as FFV1 in mkv or H.264 in mp4."""
    name = f"held_{hold}.{'mkv' if lossless else 'mp4'}"
    return simple(folder, name, expressions(24, hold), codec="ffv1" if lossless else "libx264")


def slide(folder: Path) -> Path:
    """24 frames of `sliding`, FFV1."""
    return simple(folder, "slide.mkv", sliding(24), codec="ffv1")


def fading(folder: Path) -> Path:
    """96 frames of `fade`, H.264."""
    return simple(folder, "fade.mp4", fade())


def long(folder: Path) -> Path:
    """30 seconds at 24 frames a second, 48 x 32 pixels; a face is held for two seconds."""
    small = [np.ascontiguousarray(picture[:32, :48]) for picture in (scene("normal"), scene("smile"))]
    pictures = [small[frame // 48 % 2] for frame in range(720)]
    return simple(folder, "long.mp4", pictures, rate=Fraction(24))


# Times

IRREGULAR = [0, 3003, 9009, 12012, 13513, 16516, 25525, 28528, 31531, 37537, 40540, 43543, 44044, 48048]
"""Times of 14 frames in 1/90000 s. The 14th is no B-frame and has none before it, so it is also the last packet."""


def vfr(folder: Path, extension: str) -> Path:
    """Irregular times with B-frames, the last frame held for a second: exact in mp4, rounded to 1/1000 s in mkv."""
    return simple(
        folder, f"vfr.{extension}", sliding(14), options=X264_B_FRAMES,
        times=IRREGULAR, time_base=Fraction(1, 90000), last=90000,
        format_options={"video_track_timescale": "90000"} if extension == "mp4" else {},
    )  # fmt: skip


def last_held(folder: Path, extension: str) -> Path:
    """12 frames, of which the last lasts for two seconds; FFV1 in mkv, H.264 without B-frames in mp4."""
    codec, options = ("ffv1", FFV1) if extension == "mkv" else ("libx264", {**X264, "bf": "0"})
    return simple(folder, f"last_held.{extension}", sliding(12), codec=codec, options=options, last=48)


def late_start(folder: Path, extension: str) -> Path:
    """Picture (with B-frames) and sound begin at 1.5 seconds."""
    path = folder / f"late_start.{extension}"
    with opened(path) as out:
        video = add_video(out, sliding(24), options=X264_B_FRAMES, rate=Fraction(24), start=36)
        write(out, video, add_audio(out, start=Fraction(3, 2)))
    return path


def negative_start(folder: Path) -> Path:
    """Matroska whose first frame is at about -0.2 seconds."""
    return simple(
        folder, "negative_start.mkv", sliding(12), codec="ffv1", rate=Fraction(24), start=-5,
        format_options={"avoid_negative_ts": "disabled"},
    )  # fmt: skip


def edit_list(folder: Path) -> Path:
    """An mp4 of 12 stored frames whose edit list hides the first five: readers decode those and drop them."""
    return simple(
        folder, "edit_list.mp4", sliding(12), options=X264_B_FRAMES, rate=Fraction(24), start=-5,
        format_options={"avoid_negative_ts": "disabled"},
    )  # fmt: skip


def one_frame(folder: Path) -> Path:
    """A video of a single frame."""
    return simple(folder, "one_frame.mp4", sliding(1))


def avi_held(folder: Path) -> Path:
    """AVI stores a held frame as packets of zero bytes: 12 pictures over 21 frames, MPEG-4 without B-frames."""
    times = [frame + frame // 4 * 3 for frame in range(11)] + [20]
    return simple(folder, "avi_held.avi", sliding(12), codec="mpeg4", options={}, rate=Fraction(24), times=times)


def avi_b_frames(folder: Path) -> Path:
    """H.264 with B-frames in AVI, which stores no times at all: the packets have no pts."""
    return simple(folder, "avi_b_frames.avi", sliding(12), options=X264_B_FRAMES, rate=Fraction(24))


def mpeg_ts(folder: Path) -> Path:
    """MPEG-TS with ADTS sound. The first frame is at 1.4 seconds, as ffmpeg writes it, and packets have no duration."""
    path = folder / "broadcast.ts"
    with opened(path) as out:
        video = add_video(out, sliding(24), options=X264_B_FRAMES, rate=Fraction(25), start=35)
        write(out, video, add_audio(out, start=Fraction(7, 5)))
    return path


# Pixels


def gradient(folder: Path, codec: str, pix_fmt: str) -> Path:
    """10-bit luma that 8 bits cannot hold; yuv420p10le, yuv422p10le or yuv444p10le, H.264 or H.265, lossless."""
    chroma = {"0": (2, 2), "2": (1, 2), "4": (1, 1)}[pix_fmt[5]]
    options = X264_LOSSLESS if codec == "libx264" else X265_LOSSLESS
    pictures = gradient_planes(12, chroma)
    return simple(folder, f"gradient_{codec}_{pix_fmt}.mkv", pictures, codec=codec, pix_fmt=pix_fmt, options=options)


def chroma(folder: Path, pix_fmt: str) -> Path:
    """8-bit H.264 with chroma as `pix_fmt` says."""
    return simple(folder, f"{pix_fmt}.mp4", sliding(12), pix_fmt=pix_fmt)


BT601 = {"colorspace": 6, "color_primaries": 6, "color_trc": 6}
BT709 = {"colorspace": 1, "color_primaries": 1, "color_trc": 1}
BT2020 = {"colorspace": 9, "color_primaries": 9, "color_trc": 14}
PQ = {**BT2020, "color_trc": 16}
HLG = {**BT2020, "color_trc": 18}
CARDS = {"bt601": BT601, "bt709": BT709, "bt2020": BT2020, "pq": PQ, "hlg": HLG}
"""Name of a colour card -> the numbers of H.273 it is tagged with."""


def color_card(folder: Path, name: str, bits: int, full: bool = False) -> Path:
    """Four frames of `card`, lossless and tagged; the planes are `card_planes` exactly, in 8 or 10 bits."""
    tags = {**CARDS[name], "color_range": 2 if full else 1}
    planes = card_planes(name if name in LUMA else "bt2020", bits, full)
    pix_fmt = "yuv420p" if bits == 8 else "yuv420p10le"
    file_name = f"card_{name}_{bits}{'_full' if full else ''}.mp4"
    return simple(folder, file_name, [planes] * 4, options=X264_LOSSLESS, pix_fmt=pix_fmt, tags=tags)


def hdr10(folder: Path) -> Path:
    """The card as PQ in H.265 that also says on which screen it was graded and how bright it gets."""
    tags = {**PQ, "color_range": 1}
    options = {**X265_LOSSLESS, "x265-params": X265_LOSSLESS["x265-params"] + HDR10}
    planes = card_planes("bt2020", 10)
    return simple(
        folder, "hdr10.mkv", [planes] * 4, codec="libx265", pix_fmt="yuv420p10le", options=options, tags=tags
    )  # fmt: skip


def untagged_card(folder: Path) -> Path:
    """The card by BT.601 without a word about it, as old files are."""
    return simple(folder, "card_untagged.mp4", [card_planes("bt601", 8)] * 4, options=X264_LOSSLESS)


def grey(folder: Path) -> Path:
    """One plane only: FFV1 gray."""
    pictures = [[np.ascontiguousarray(picture[..., 1])] for picture in sliding(12)]
    return simple(folder, "grey.mkv", pictures, codec="ffv1", pix_fmt="gray")


def alpha_pictures(count: int) -> list[np.ndarray]:
    """RGBA: the smile cut out along her outline, a little more transparent with every frame."""
    cut = trained.crop(trained.art("sylvie_green_smile.png"), 0, 120, HEIGHT, WIDTH)[0].numpy()
    fading_out = [np.concatenate([cut[..., :3], cut[..., 3:] * (1 - frame / (2 * count))], 2) for frame in range(count)]
    return [_bytes(picture) for picture in fading_out]


def alpha(folder: Path, codec: str) -> Path:
    """Transparent parts: "qtrle" (argb in mov) or "ffv1" (yuva420p in mkv)."""
    extension, pix_fmt = {"qtrle": ("mov", "argb"), "ffv1": ("mkv", "yuva420p")}[codec]
    return simple(folder, f"alpha_{codec}.{extension}", alpha_pictures(6), codec=codec, pix_fmt=pix_fmt)


def odd_size(folder: Path, codec: str) -> Path:
    """65 x 47 pixels: H.264 as yuv444p, or FFV1 as yuv420p, whose chroma is 33 x 24."""
    pix_fmt = {"libx264": "yuv444p", "ffv1": "yuv420p"}[codec]
    pictures = [np.ascontiguousarray(picture[:47, :65]) for picture in sliding(8)]
    return simple(folder, f"odd_{codec}.mkv", pictures, codec=codec, pix_fmt=pix_fmt)


def rotated(folder: Path) -> Path:
    """As a phone held upright writes it: stored 96 x 64, to be shown turned by 90 degrees counter-clockwise."""
    path = folder / "rotated.mp4"
    with opened(path) as out:
        video = add_video(out, sliding(8))
        out.streams.video[0].set_display_rotation(90)
        write(out, video)
    return path


def anamorphic(folder: Path) -> Path:
    """Pixels that are not square: sample aspect ratio 8:9, as NTSC DVDs at 4:3 have it."""
    return simple(folder, "anamorphic.mp4", sliding(8), sample_aspect_ratio=Fraction(8, 9))


def interlaced(folder: Path) -> Path:
    """H.264 that says of its frames that they are two fields, top field first."""
    options = {**X264, "flags": "+ilme+ildct", "x264-params": "tff=1"}
    return simple(folder, "interlaced.mkv", sliding(12), options=options, rate=Fraction(25))


def gif(folder: Path) -> Path:
    """An animated GIF, 10 frames of 0.1 s."""
    return simple(folder, "animated.gif", sliding(10), codec="gif", pix_fmt="rgb8", rate=Fraction(10))


def apng(folder: Path) -> Path:
    """An animated PNG with an alpha channel, 6 frames of 0.1 s."""
    return simple(folder, "animated.apng", alpha_pictures(6), codec="apng", pix_fmt="rgba", rate=Fraction(10))


# Tracks


def tracks_mkv(folder: Path) -> Path:
    """All that a release of an episode has: H.264, 5.1 AAC (jpn), stereo FLAC (eng), ASS, SRT, a font, chapters."""
    path = folder / "tracks.mkv"
    with opened(path) as out:
        out.metadata["title"] = "The Question"
        video = add_video(out, sliding(24), options=X264_B_FRAMES, rate=Fraction(24))
        tracks = [
            add_audio(out, layout="5.1", language="jpn", title="Surround"),
            add_audio(out, codec="flac", language="eng", title="Commentary"),
            add_subtitles(out, "ass", "eng", "Signs"),
            add_subtitles(out, "subrip", "ger", "Dialog"),
        ]
        out.streams[2].disposition = Disposition.comment
        out.streams[3].disposition = Disposition.default | Disposition.forced
        out.add_attachment("Test Font.ttf", "font/ttf", FONT)
        add_chapters(out)
        write(out, video, *tracks)
    return path


def tracks_mp4(folder: Path) -> Path:
    """H.264, two stereo AAC tracks (jpn, eng), mov_text subtitles and chapters; ffprobe sees those as a stream too."""
    path = folder / "tracks.mp4"
    with opened(path) as out:
        out.metadata["title"] = "The Question"
        video = add_video(out, sliding(24), options=X264_B_FRAMES, rate=Fraction(24))
        tracks = [add_audio(out, language="jpn"), add_audio(out, language="eng"), add_subtitles(out, "mov_text", "eng")]
        out.streams[1].disposition = Disposition.default
        out.streams[2].disposition = 0
        add_chapters(out)
        write(out, video, *tracks)
    return path


def _jpeg() -> bytes:
    data = io.BytesIO()
    Image.fromarray(scene("smile")[:32, :32]).save(data, "JPEG")
    return data.getvalue()


def cover_mkv(folder: Path) -> Path:
    """A cover picture attached to an mkv: readers see it as a second video stream of one frame."""
    path = folder / "cover.mkv"
    with opened(path) as out:
        video = add_video(out, sliding(12))
        out.add_attachment("cover.jpg", "image/jpeg", _jpeg())
        write(out, video)
    return path


def cover_first(folder: Path) -> Path:
    """An mp4 whose cover picture is the first video stream, before the film.

    Writers put the box with the cover last. Readers number streams by the order of the boxes, so it is moved to the
    front of its parent.
    """
    path = folder / "cover_first.mp4"
    with opened(path) as out:
        video = add_video(out, sliding(12))
        stream: Any = out.add_stream("mjpeg", width=32, height=32, pix_fmt="yuvj420p", time_base=Fraction(1, 90000))
        stream.disposition = Disposition.attached_pic
        cover = av.Packet(_jpeg())
        cover.stream, cover.time_base = stream, Fraction(1, 90000)
        cover.pts = cover.dts = 0
        cover.is_keyframe = True
        write(out, video, [cover])
    data = path.read_bytes()
    start, size = _box(data, b"moov", 0, len(data))
    cover_start, cover_size = _box(data, b"udta", start + 8, start + size)
    first_track, _ = _box(data, b"trak", start + 8, start + size)
    cover_box = data[cover_start : cover_start + cover_size]
    rest = data[first_track:cover_start] + data[cover_start + cover_size :]
    path.write_bytes(data[:first_track] + cover_box + rest)
    return path


def _box(data: bytes, name: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the first mp4 box of this name begins between two places, and its size."""
    while start < end:
        size, found = struct.unpack_from(">I4s", data, start)
        if found == name:
            return start, size
        start += size
    raise AssertionError(f"no box {name!r}")


# Files that are not whole


def damaged(folder: Path, codec: str) -> Path:
    """24 frames, a key frame every 8; the second half of the bytes of frames 9 to 12 is overwritten."""
    path = folder / f"damaged_{codec}.mkv"
    options = {"libx264": {**X264, "g": "8", "bf": "0"}, "ffv1": FFV1}[codec]
    with opened(path) as out:
        video = add_video(out, sliding(24), codec=codec, options=options)
        stored = [bytes(packet) for packet in video]
        write(out, video)
    data = bytearray(path.read_bytes())
    for packet in stored[9:13]:
        half = packet[len(packet) // 2 :]  # the first half is stored differently: mkv has no start codes
        place = data.index(half)
        data[place : place + len(half)] = (b"\xa5\x3c\x96" * len(half))[: len(half)]
    path.write_bytes(data)
    return path


def truncated(folder: Path, extension: str) -> Path:
    """A download that stopped: "mkv" or "ts" of 24 frames with sound, of which a part is missing at the end.

    An "mp4" cut like that has lost its index and cannot be read at all.
    """
    path = folder / f"truncated.{extension}"
    with opened(path) as out:
        write(out, add_video(out, sliding(24), options={**X264_B_FRAMES, "g": "8"}), add_audio(out))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5 + 7])
    return path


def audio_only(folder: Path) -> Path:
    """Sound without any picture."""
    path = folder / "audio_only.m4a"
    with opened(path) as out:
        write(out, add_audio(out))
    return path


def audio_with_cover(folder: Path) -> Path:
    """Sound with a cover picture, which is no video."""
    path = folder / "audio_with_cover.mka"
    with av.open(str(path), "w", format="matroska") as out:
        audio = add_audio(out, codec="flac")
        out.add_attachment("cover.jpg", "image/jpeg", _jpeg())
        write(out, audio)
    return path


def zero_frames(folder: Path, extension: str) -> Path:
    """A video stream without a packet: an mkv that ends before its first frame, or an mp4 meant for fragments."""
    if extension == "mkv":
        path = simple(folder, "zero_frames.mkv", sliding(1))
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75")])  # the ID of a cluster, where frames lie
        return path
    path = folder / "zero_frames.mp4"
    with opened(path, movflags="empty_moov+frag_keyframe") as out:
        add_video(out, sliding(1))
        write(out)
    return path


def no_video(folder: Path) -> Path:
    """A text that is called a video."""
    path = folder / "no_video.mp4"
    path.write_text("This is a text and no video.\n" * 40, encoding="utf-8")
    return path


def empty(folder: Path) -> Path:
    """A file of zero bytes."""
    path = folder / "empty.mkv"
    path.touch()
    return path


CLIPS: dict[str, Builder] = {
    "twos lossless": partial(held, hold=2, lossless=True),
    "twos compressed": partial(held, hold=2, lossless=False),
    "threes lossless": partial(held, hold=3, lossless=True),
    "threes compressed": partial(held, hold=3, lossless=False),
    "slide": slide,
    "fade": fading,
    "long": long,
    "vfr mp4": partial(vfr, extension="mp4"),
    "vfr mkv": partial(vfr, extension="mkv"),
    "last held mp4": partial(last_held, extension="mp4"),
    "last held mkv": partial(last_held, extension="mkv"),
    "late start mp4": partial(late_start, extension="mp4"),
    "late start mkv": partial(late_start, extension="mkv"),
    "late start ts": partial(late_start, extension="ts"),
    "negative start": negative_start,
    "edit list": edit_list,
    "one frame": one_frame,
    "avi held": avi_held,
    "avi b-frames": avi_b_frames,
    "mpeg-ts": mpeg_ts,
    "gradient h264 420": partial(gradient, codec="libx264", pix_fmt="yuv420p10le"),
    "gradient h265 420": partial(gradient, codec="libx265", pix_fmt="yuv420p10le"),
    "gradient h264 422": partial(gradient, codec="libx264", pix_fmt="yuv422p10le"),
    "gradient h265 444": partial(gradient, codec="libx265", pix_fmt="yuv444p10le"),
    "422": partial(chroma, pix_fmt="yuv422p"),
    "444": partial(chroma, pix_fmt="yuv444p"),
    "card bt601": partial(color_card, name="bt601", bits=8),
    "card bt601 10-bit": partial(color_card, name="bt601", bits=10),
    "card bt601 full": partial(color_card, name="bt601", bits=8, full=True),
    "card bt709": partial(color_card, name="bt709", bits=8),
    "card bt709 10-bit": partial(color_card, name="bt709", bits=10),
    "card bt709 full": partial(color_card, name="bt709", bits=8, full=True),
    "card bt2020": partial(color_card, name="bt2020", bits=8),
    "card bt2020 10-bit": partial(color_card, name="bt2020", bits=10),
    "card pq": partial(color_card, name="pq", bits=10),
    "card hlg": partial(color_card, name="hlg", bits=10),
    "card untagged": untagged_card,
    "hdr10": hdr10,
    "grey": grey,
    "alpha qtrle": partial(alpha, codec="qtrle"),
    "alpha ffv1": partial(alpha, codec="ffv1"),
    "odd h264 444": partial(odd_size, codec="libx264"),
    "odd ffv1 420": partial(odd_size, codec="ffv1"),
    "rotated": rotated,
    "anamorphic": anamorphic,
    "interlaced": interlaced,
    "gif": gif,
    "apng": apng,
    "tracks mkv": tracks_mkv,
    "tracks mp4": tracks_mp4,
    "cover mkv": cover_mkv,
    "cover first": cover_first,
}
"""Whole files with pictures to upscale."""

DAMAGED: dict[str, Builder] = {
    "damaged h264": partial(damaged, codec="libx264"),
    "damaged ffv1": partial(damaged, codec="ffv1"),
    "truncated mkv": partial(truncated, extension="mkv"),
    "truncated ts": partial(truncated, extension="ts"),
}
"""Files with pictures, of which some cannot be read."""

REFUSED: dict[str, Builder] = {
    "truncated mp4": partial(truncated, extension="mp4"),
    "audio only": audio_only,
    "audio with cover": audio_with_cover,
    "zero frames mkv": partial(zero_frames, extension="mkv"),
    "zero frames mp4": partial(zero_frames, extension="mp4"),
    "no video": no_video,
    "empty": empty,
}
"""Files without any picture to upscale."""
