"""Everything about a run that is known in advance, as a frozen value."""

from dataclasses import dataclass, replace
from math import lcm
from typing import Any

from .. import engine
from ..engine import arguments
from . import codecs, parts
from .codecs import Encoding
from .encode import Look, need_of
from .errors import UnwritableVideo
from .reader import Clip
from .source import Source


@dataclass(frozen=True)
class VideoJob:
    """Everything about a run that is known in advance. From `prepare_video`."""

    source: Source
    clip: Clip
    engine: engine.Job
    encoding: Encoding
    look: Look
    reuse_frames: bool
    tolerance: float
    fingerprint: str
    """A name for the result, the same for the same source, model and settings: 32 hexadecimal digits."""

    def notes(self) -> list[str]:
        """What the user should know before it runs, one line each."""
        clip, look = self.clip, self.look
        lines = []
        if clip.color.is_hdr:
            lines.append(
                f"HDR: the models were trained on SDR. Try a short part of {clip.name} first. Its tags are kept."
            )
        if clip.has_alpha:
            lines.append(f"Transparency is left out: the result for {clip.name} is opaque.")
        if look.encoded_size != look.size:
            height, width = look.encoded_size
            lines.append(f"Last row or column repeated: frames are {width}x{height}, multiples of {look.multiple_of}.")
        if self.encoding.bits < clip.bits:
            lines.append(f"{self.encoding.bits} bits instead of {clip.bits} a colour in the result for {clip.name}.")
        return lines


def prepare_video(
    model: Any,
    source: Source,
    clip: Clip,
    *,
    size: tuple[int, int] | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    preset: str = "exact",
    multiple_of: int = 1,
    codec: str = "h264",
    quality: float = codecs.DEFAULT_QUALITY,
    bit_depth: str | int = "auto",
    reuse_frames: bool = True,
    tolerance: float = 0.0,
) -> VideoJob:
    """Work out what `run_video` will do, without doing it.

    Args:
        model: an UPSCALE_MODEL, from `load_model` or any other loader.
        source, clip: a video, and what `read_clip` says of it.
        size: height and width of the result; None for the model's scale.
        tile, overlap, preset, reuse_frames, tolerance: see `engine.upscale` and `engine.session`.
        multiple_of: height and width are padded to a multiple of this by repeating the last row and column.
        codec: one of `available()`.
        quality: 0 (small file) to 100 (nothing lost, where the codec can).
        bit_depth: "auto" (10 for a source of more than 8 bits), 8 or 10.

    Raises:
        UnwritableVideo: the codec cannot be opened here, or takes no frames so small.
        ValueError: an argument is not as described.
    """
    arguments.upscale_model(model)
    multiple_of = arguments.whole(multiple_of, "multiple_of", least=1)
    reuse_frames = arguments.flag(reuse_frames, "reuse_frames")
    tolerance = arguments.not_negative(tolerance, "tolerance")
    size = None if size is None else arguments.output_size(size)
    encoding = codecs.choose(codec, quality, bit_depth, clip.bits)
    job = engine.prepare(model, clip.shape, size=size, tile=tile, overlap=overlap, preset=preset)
    color = replace(clip.color, is_full_range=clip.color.is_full_range and codecs.CODECS[codec].has_full_range)
    look = Look(job.size, lcm(need_of(encoding), multiple_of), color, clip.aspect, clip.rate)
    _require_size(encoding, look)
    settings = clip.window, job.sizes, str(job.dtype), job.limits, encoding, look, reuse_frames, tolerance
    name = parts.fingerprint(source, model, *settings)
    return VideoJob(source, clip, job, encoding, look, reuse_frames, tolerance, name)


def _require_size(encoding: Encoding, look: Look) -> None:
    """Raises UnwritableVideo if the codec takes no frames so small; SVT-AV1 would wait for ever."""
    height, width = look.encoded_size
    least = codecs.CODECS[encoding.codec].smallest
    if min(height, width) < least:
        raise UnwritableVideo(
            f"{encoding.codec} needs frames of at least {least}x{least}; these are {width}x{height}. "
            "Choose another codec or a larger size."
        )
