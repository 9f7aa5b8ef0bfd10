"""A video file in, an upscaled video file out, frame by frame: any length in bounded memory, every time kept.

It does not depend on ComfyUI. Its modules, in the order in which data passes through them:
    reader       a file -> its facts, and its frames with their times
    planes       frames of PyAV <-> pictures
    color        YUV <-> RGB
    pipeline     reads ahead and writes behind in threads, with bounded queues
    codecs       the codecs of the result, and their settings by quality and bits
    encode       pictures -> the file of one part
    parts        the finished parts, kept so that a run that was cut off can go on
    disk         checks the free space
    mux          parts and the source's sound, subtitles, chapters -> the result
    upscale      the entry points: `prepare` and `run`, `upscale_video` for both
"""

from .codecs import BIT_DEPTHS, CODECS, available
from .errors import NotEnoughDisk, UnreadableVideo, UnwritableVideo
from .parts import remove_stale
from .reader import WHOLE, Clip, Window, read_clip
from .status import Status
from .upscale import VideoJob, prepare, run, upscale_video

__all__ = [
    "BIT_DEPTHS",
    "CODECS",
    "WHOLE",
    "Clip",
    "NotEnoughDisk",
    "Status",
    "UnreadableVideo",
    "UnwritableVideo",
    "VideoJob",
    "Window",
    "available",
    "prepare",
    "read_clip",
    "remove_stale",
    "run",
    "upscale_video",
]
