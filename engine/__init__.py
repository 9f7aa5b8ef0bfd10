"""The tiling engine: any image-to-image network, any picture, the memory there is. Knows nothing of ComfyUI.

In the order of the data:
    sizes    what the user asks for -> output size
    plan     image size + facts of the network + budget -> tiles of one shape
    memory   budget, estimates, out-of-memory
    pixels   pictures (H, W, C) <-> networks (B, C, H, W); alpha, grey, resize
    stitch   tiles -> the final tensor
    pulse    progress and cancellation
    runner   all of it: `upscale`
"""

from .memory import bytes_for, pixels_within
from .plan import Plan, Segment, plan
from .pulse import Cancelled
from .runner import upscale
from .sizes import RESIZE_MODES, target_size

__all__ = [
    "RESIZE_MODES",
    "Cancelled",
    "Plan",
    "Segment",
    "bytes_for",
    "pixels_within",
    "plan",
    "target_size",
    "upscale",
]
