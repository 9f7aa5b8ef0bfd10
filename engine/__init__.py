"""The tiling engine: any image-to-image network, any picture, the memory there is. Knows nothing of ComfyUI.

In the order of the data:
    arguments    what callers hand over, checked
    sizes        what the user asks for -> output size, in one pass of the network or two
    tiling       image size + facts of the network + budget -> tiles of one shape, strips
    estimate     bytes of a tile
    job          all of that for a batch, worked out once
    devices      free memory, peaks (system_memory: the computer's, or its container's)
    conditions   under which tiles are planned, and what they become when memory runs out
    pixels       pictures (H, W, C) <-> networks (B, C, H, W); resize
    network      one tile through the network
    means        what tiles must know of the whole picture
    stitch       tiles -> the final tensor
    deliver      from the device to there, while the next tile is computed
    progress     progress and cancellation
    tiles        one picture, whatever the memory does
    alpha        transparent pictures
    reuse        what a picture has in common with the one before it
    frames       picture after picture: passes, resize, alpha, reuse
    run          all of it: `session` for a stream, `upscale` for a batch
"""

from .alpha import ALPHA_MODES, with_mask
from .estimate import bytes_for
from .job import Job, prepare
from .progress import Cancelled
from .run import Callbacks, Placement, Session, session, upscale, upscale_batch
from .sizes import RESIZE_MODES, passes, target_size
from .tiling import PRESETS, Plan, Segment, plan

__all__ = [
    "ALPHA_MODES",
    "PRESETS",
    "RESIZE_MODES",
    "Callbacks",
    "Cancelled",
    "Job",
    "Placement",
    "Plan",
    "Segment",
    "Session",
    "bytes_for",
    "passes",
    "plan",
    "prepare",
    "session",
    "target_size",
    "upscale",
    "upscale_batch",
    "with_mask",
]
