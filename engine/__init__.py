"""The tiling engine: any image-to-image network, any picture, the memory there is. Knows nothing of ComfyUI.

In the order of the data:
    arguments   what callers hand over, checked
    sizes    what the user asks for -> output size, in one pass of the network or two
    plan     image size + facts of the network + budget -> tiles of one shape, strips
    memory   budget, estimates, out-of-memory (system_memory: what Linux and a container's limit leave)
    pixels   pictures (H, W, C) <-> networks (B, C, H, W); resize
    alpha    transparent pictures
    stitch   tiles -> the final tensor
    deliver  from the device to there, while the next tile is computed
    pulse    progress and cancellation
    tiles    run the plan for one picture, whatever the memory does
    reuse    what a picture has in common with the one before it
    frames   picture by picture: passes, resize, alpha, reuse
    runner   all of it: `upscale`
"""

from .alpha import ALPHA_MODES, with_mask
from .frames import CANVAS_SHARE, canvas_bytes
from .memory import bytes_for
from .progress import Cancelled
from .run import upscale
from .sizes import RESIZE_MODES, passes, target_size
from .tiling import PRESETS, Plan, Segment, plan

__all__ = [
    "ALPHA_MODES",
    "CANVAS_SHARE",
    "PRESETS",
    "RESIZE_MODES",
    "Cancelled",
    "Plan",
    "Segment",
    "bytes_for",
    "canvas_bytes",
    "passes",
    "plan",
    "target_size",
    "upscale",
    "with_mask",
]
