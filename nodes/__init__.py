"""The thin adapter to ComfyUI: the only part of the pack that knows it.

catalogue   what the model list shows -> a file
host        memory manager, progress, interrupt: as plain callables
inputs      resize_to: a choice that brings its number
loader      Load APISR Model
upscale     Upscale Image (APISR)
"""

from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from .loader import APISRModelLoader
from .upscale import APISRUpscale


class ApisrExtension(ComfyExtension):
    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [APISRModelLoader, APISRUpscale]
