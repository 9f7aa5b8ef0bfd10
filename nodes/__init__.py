"""The thin adapter to ComfyUI: the only part of the pack that imports it.

catalogue   entries of the model list and the files behind them
host        memory manager, progress and interrupt, as plain callables
inputs      inputs that more than one node has: resize_to, a choice with a nested number, and the tile limits
loader      Load APISR Model
upscale     Upscale Image (APISR)
video       Upscale Video (APISR)
video_files VIDEO values <-> video files
"""

from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from .loader import APISRModelLoader
from .upscale import APISRUpscale
from .video import APISRUpscaleVideo


class ApisrExtension(ComfyExtension):
    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [APISRModelLoader, APISRUpscale, APISRUpscaleVideo]
