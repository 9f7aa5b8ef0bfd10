"""Pictures and sound in memory -> the contents of a video file, without loss in the pictures."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from . import planes

PLANAR = {"bgr0": "gbrp"}
"""The planar format with the same numbers."""
SOUND_BITS_PER_SECOND = 192_000
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
"""By number of channels."""


def in_memory(
    images: Tensor, rate: Fraction, bits: int = 8, waveform: Tensor | None = None, sample_rate: int = 0
) -> io.BytesIO:
    """Store a batch of pictures as an mp4 in memory: FFV1 in RGB, and AAC.

    Args:
        images: (B, H, W, C) in [0, 1]; of more than three channels the first three are used, grey is repeated.
        rate: frames a second.
        bits: of each colour, 8 or more; stored are 8 or 10.
        waveform, sample_rate: (channels, samples) in [-1, 1], samples a second. Cut where the pictures end.
    """
    contents = io.BytesIO()
    # the same pictures give the same bytes, by which a run that was cut off is recognised
    with av.open(contents, "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        video = _video_stream(out, images, rate, bits)
        sound = _sound_stream(out, waveform, sample_rate)
        for number, image in enumerate(images):
            frame = _frame(image, video.codec_context.pix_fmt)
            frame.pts, frame.time_base = number, 1 / rate
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None and waveform is not None:
            length = int(len(images) / rate * sample_rate)
            frame = _sound_frame(waveform[:, :length], sample_rate)
            out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
    contents.seek(0)
    return contents


def _video_stream(out: Any, images: Tensor, rate: Fraction, bits: int) -> Any:
    stream = out.add_stream("ffv1", rate=rate, options={"level": "3", "slices": "4"})
    context = stream.codec_context
    context.height, context.width = images.shape[1:3]
    context.pix_fmt = "bgr0" if bits <= 8 else "gbrp10le"  # FFV1 has no planes for RGB of 8 bits
    return stream


def _frame(image: Tensor, pix_fmt: str) -> av.VideoFrame:
    """(H, W, C) -> a frame."""
    white = 255 if pix_fmt == "bgr0" else 1023
    integers = (image[..., :3].float() * white).round_().clamp_(0, white).cpu()
    red, green, blue = integers.expand(-1, -1, 3).to(torch.int32).numpy().transpose(2, 0, 1)
    dtype = np.uint8 if white == 255 else np.uint16
    frame = planes.frame_of([plane.astype(dtype) for plane in (green, blue, red)], PLANAR.get(pix_fmt, pix_fmt))
    return frame if frame.format.name == pix_fmt else frame.reformat(format=pix_fmt)


def _sound_stream(out: Any, waveform: Tensor | None, sample_rate: int) -> Any:
    if waveform is None or not waveform.numel():
        return None
    layout = LAYOUTS.get(len(waveform), "stereo")
    stream = out.add_stream("aac", rate=sample_rate, layout=layout)
    stream.codec_context.bit_rate = SOUND_BITS_PER_SECOND
    return stream


def _sound_frame(waveform: Tensor, sample_rate: int) -> av.AudioFrame:
    channels = waveform if len(waveform) in LAYOUTS else waveform[:2]
    samples = np.ascontiguousarray(channels.float().cpu().numpy())
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=LAYOUTS[len(samples)])
    frame.sample_rate, frame.pts = sample_rate, 0
    return frame
