"""The tiling engine: runs any image-to-image network on pictures of any size, within a memory budget.

It does not depend on ComfyUI. Its modules, in the order in which data passes through them:
    arguments    checks the arguments of the public functions
    sizes        requested size -> output size, in one or two passes of the network
    tiling       image size + network facts + memory budget -> tiles of equal shape, and row strips
    estimate     estimates the memory that a tile needs
    job          everything about a batch that is known in advance, computed once
    devices      free memory and memory peaks (system_memory: free RAM, or the container's limit)
    conditions   the conditions under which tiles are planned, and the fallbacks when memory runs out
    pixels       pictures (H, W, C) <-> network batches (B, C, H, W); resizing
    network      runs the network on one tile
    means        gathers means over the whole picture, for networks that need them
    stitch       blends tiles into the output tensor
    deliver      copies tiles from the device to the output while the next tile is computed
    progress     progress and cancellation
    tiles        upscales one picture tile by tile, with smaller tiles when memory runs out
    alpha        transparent pictures
    reuse        finds the parts of a frame that differ from the previous one
    rectangles   groups the cells of a frame that must be computed into such parts
    cells        the same with a tolerance: finds the cells of a frame that differ too much
    frames       upscales picture after picture: passes, resizing, alpha, parts
    stream       compares each picture with those before it, and gives the previous result again
    run          the entry points: `session` for a stream, `upscale` for a batch
"""

from .alpha import ALPHA_MODES, with_mask
from .estimate import bytes_for
from .job import Job, job_of, prepare
from .options import BatchState, Callbacks, OnResult, Placement
from .progress import Cancelled
from .run import session, upscale, upscale_batch
from .sizes import RESIZE_MODES, passes, target_size
from .stream import Session
from .tiling import PRESETS, Limits, Place, Plan, Segment, plan

__all__ = [
    "ALPHA_MODES",
    "PRESETS",
    "RESIZE_MODES",
    "BatchState",
    "Callbacks",
    "Cancelled",
    "Job",
    "Limits",
    "OnResult",
    "Place",
    "Placement",
    "Plan",
    "Segment",
    "Session",
    "bytes_for",
    "job_of",
    "passes",
    "plan",
    "prepare",
    "session",
    "target_size",
    "upscale",
    "upscale_batch",
    "with_mask",
]
