"""A video file in, an upscaled video file out, frame by frame: any length in bounded memory, every time kept.

It does not depend on ComfyUI. Its modules, in the order in which data passes through them:
    source       opens a file, finds its pictures
    decode       packets -> frames with their times
    planes       frames of PyAV <-> pictures
    color        YUV <-> RGB
    reader       what is known of a video in advance, and its pictures
    codecs       the codecs of the result, and their settings by quality and bits
    job          everything about a run that is known in advance
    pipeline     reads ahead and writes behind in threads, with bounded queues
    encode       pictures -> the file of one part
    parts        the finished parts, kept so that a run that was cut off can go on
    disk         checks the free space
    mux          parts and the source's sound, subtitles, chapters -> the result
    status       how far a run is
    run          the entry points: `run_video`, and `upscale_video`, which prepares a job and runs it
    memory       pictures in memory -> a file in memory, to be read like any other
    remux        copies a result into another file
"""

from .codecs import BIT_DEPTHS, CODECS, DEFAULT_QUALITY, available
from .errors import NotEnoughDisk, UnreadableVideo, UnwritableVideo
from .job import VideoJob, prepare_video
from .memory import in_memory
from .parts import FRAMES as FRAMES_OF_A_PART
from .parts import remove_stale
from .reader import Clip, read_clip
from .remux import remux
from .run import IN_FLIGHT, results_of, run_video, upscale_video
from .source import WHOLE, Source, Window
from .status import Status

__all__ = [
    "BIT_DEPTHS",
    "CODECS",
    "DEFAULT_QUALITY",
    "FRAMES_OF_A_PART",
    "IN_FLIGHT",
    "WHOLE",
    "Clip",
    "NotEnoughDisk",
    "Source",
    "Status",
    "UnreadableVideo",
    "UnwritableVideo",
    "VideoJob",
    "Window",
    "available",
    "in_memory",
    "prepare_video",
    "read_clip",
    "remove_stale",
    "remux",
    "results_of",
    "run_video",
    "upscale_video",
]
