"""The codecs of the result, and their settings by quality and bits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from numbers import Real
from typing import Any

import av
from av.codec import Codec as Encoder
from av.error import FFmpegError

from .errors import UnwritableVideo

Options = Mapping[str, str]
DEFAULT_QUALITY = 65
LOSSLESS = 100
"""The quality at which nothing is lost, where a codec can."""


@dataclass(frozen=True)
class Codec:
    """A choice of codec."""

    encoder: str
    """FFmpeg's name of the encoder."""
    container: str
    """FFmpeg's name of the container that is usual for it."""
    formats: Mapping[int, str]
    """The planar YUV format in which pictures are converted, by bits."""
    options: Callable[[float], Options]
    """The encoder's options for a quality, 0 to 100."""
    takes: Mapping[int, str] = field(default_factory=dict)
    """The encoder's own format by bits, where it is another one for the same numbers."""
    is_hardware: bool = False
    has_full_range: bool = True
    """Whether files can say that values use the full range."""
    smallest: int = 1
    """Least height and width of its frames."""
    tag: str = ""
    """The tag in mp4 by which players know it, if it is not FFmpeg's default."""

    @property
    def suffix(self) -> str:
        """Of files in its container."""
        return f".{self.container}"


@dataclass(frozen=True)
class Encoding:
    """How frames become packets."""

    codec: str
    """One of `CODECS`."""
    bits: int
    quality: float

    @property
    def format(self) -> str:
        """The planar YUV format of the pictures."""
        if self.codec == "prores" and self.quality > _PRORES_HQ_UP_TO:
            return "yuv444p10le"
        return CODECS[self.codec].formats[self.bits]

    @property
    def encoder_format(self) -> str:
        return CODECS[self.codec].takes.get(self.bits, self.format)

    @property
    def options(self) -> dict[str, str]:
        return dict(CODECS[self.codec].options(self.quality))

    @property
    def is_lossless(self) -> bool:
        return self.codec == "ffv1" or (self.quality >= LOSSLESS and self.codec != "prores")


def choose(codec: str, quality: float, bit_depth: str | int, source_bits: int) -> Encoding:
    """The settings for a codec that this PyAV can open.

    Args:
        codec: one of `CODECS`.
        quality: 0 to 100.
        bit_depth: "auto" (10 for a source of more than 8 bits), 8 or 10.
        source_bits: bits of the source.

    Raises:
        UnwritableVideo: the codec cannot be opened here.
        ValueError: an argument is not as described.
    """
    if codec not in CODECS:
        raise ValueError(f"codec is {codec!r}; expected one of: {', '.join(CODECS)}.")
    if str(bit_depth) not in BIT_DEPTHS:
        raise ValueError(f"bit_depth is {bit_depth!r}; expected one of: {', '.join(BIT_DEPTHS)}.")
    if not isinstance(quality, Real) or not 0 <= quality <= LOSSLESS:  # NaN fails too
        raise ValueError(f"quality is {quality!r}; expected 0 (small file) to {LOSSLESS} (nothing lost).")
    if not can_open(codec):
        others = ", ".join(available())
        raise UnwritableVideo(f"{codec} cannot be opened on this machine. Choose another codec: {others}.")
    wanted = (10 if source_bits > 8 else 8) if str(bit_depth) == "auto" else int(bit_depth)
    formats = CODECS[codec].formats
    return Encoding(codec, wanted if wanted in formats else max(formats), float(quality))


def available() -> list[str]:
    """The codecs that this PyAV can open, the default first."""
    return [name for name in CODECS if can_open(name)]


@cache
def can_open(name: str) -> bool:
    """Whether this PyAV has an encoder and, for hardware, can start it: drivers and hardware are needed too."""
    codec = CODECS[name]
    try:
        encoder = Encoder(codec.encoder, "w")
        if codec.is_hardware:
            context: Any = av.CodecContext.create(encoder, "w")
            context.width, context.height, context.pix_fmt = 256, 256, codec.takes.get(8, codec.formats[8])
            context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
            context.open()
    except (ValueError, FFmpegError):
        return False
    return True


def _scaled(quality: float, worst: float) -> str:
    """A codec's own scale, on which 0 is the best."""
    return f"{worst * (1 - quality / 100):.1f}"


FAST = "veryfast"
"""Of x264 and x265: their default is slower than most networks on a GPU, and saves a tenth of the size."""


def _x264(quality: float) -> Options:
    return {"preset": FAST} | ({"qp": "0"} if quality >= LOSSLESS else {"crf": _scaled(quality, 51)})


def _x265(quality: float) -> Options:
    quiet = "log-level=error:bframes=0"
    if quality >= LOSSLESS:
        return {"preset": FAST, "x265-params": f"{quiet}:lossless=1"}
    return {"preset": FAST, "crf": _scaled(quality, 51), "x265-params": quiet}


def _svt(quality: float) -> Options:
    if quality >= LOSSLESS:
        return {"preset": "8", "svtav1-params": "lossless=1"}
    return {"preset": "8", "crf": f"{max(1, round(63 * (1 - quality / 100)))}"}


def _ffv1(_: float) -> Options:
    return {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}


_PRORES_HQ_UP_TO = 90


def _prores(quality: float) -> Options:
    profiles = ((25, "proxy"), (50, "lt"), (75, "standard"), (_PRORES_HQ_UP_TO, "hq"), (100, "4444"))
    return {"profile": next(name for most, name in profiles if quality <= most), "vendor": "apl0"}


def _nvenc(worst: int) -> Callable[[float], Options]:
    def options(quality: float) -> Options:
        if quality >= LOSSLESS:
            return {"tune": "lossless", "rc": "constqp", "qp": "0"}
        return {"rc": "constqp", "qp": f"{worst * (1 - quality / 100):.0f}"}

    return options


_YUV420 = {8: "yuv420p", 10: "yuv420p10le"}
_NVIDIA = {8: "yuv420p", 10: "p010le"}
CODECS = {
    "h264": Codec("libx264", "mp4", _YUV420, _x264),
    "h265": Codec("libx265", "mp4", _YUV420, _x265, tag="hvc1"),
    "av1": Codec("libsvtav1", "mp4", _YUV420, _svt, smallest=64),
    "ffv1": Codec("ffv1", "mp4", {8: "yuv444p", 10: "yuv444p10le"}, _ffv1),
    "prores": Codec("prores_ks", "mov", {10: "yuv422p10le"}, _prores, has_full_range=False),
    "h264 (NVIDIA)": Codec("h264_nvenc", "mp4", {8: "yuv420p"}, _nvenc(51), _NVIDIA, is_hardware=True),
    "h265 (NVIDIA)": Codec("hevc_nvenc", "mp4", _YUV420, _nvenc(51), _NVIDIA, is_hardware=True, tag="hvc1"),
    "av1 (NVIDIA)": Codec("av1_nvenc", "mp4", _YUV420, _nvenc(255), _NVIDIA, is_hardware=True),
}
"""All choices, by the name that the user sees; the first is the default."""
BIT_DEPTHS = ("auto", "8", "10")
