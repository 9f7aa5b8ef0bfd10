"""The thin adapter to ComfyUI: the only part of the pack that imports it.

loader          Load APISR Model
upscale         Upscale Image (APISR)
quick           APISR Quick Upscale
video           Upscale Video (APISR)
compare         Compare Before and After (APISR)
contact_sheet   Compare Models (APISR)
replacements    nodes of earlier packs -> ours

inputs          inputs that more than one node has: resize_to, a choice with a nested number, and the tile limits
pictures        what the nodes for pictures share; preview: the small picture below them
video_files     VIDEO values <-> video files
catalogue       entries of the model list and the files behind them; entries: the same in words
downloads       fetching published models
measured        what was learned about models: facts and pace
estimate        size, memory and time before a run
host            memory manager, progress and interrupt, as plain callables
status, words   what nodes say, in the languages of locales/
pages, routes   the browser pages that show it, and what they ask
"""

from comfy_api.latest import ComfyAPI, ComfyExtension, io
from server import PromptServer
from typing_extensions import override

from . import replacements, routes
from .compare import APISRCompare
from .contact_sheet import APISRContactSheet
from .loader import APISRModelLoader
from .quick import APISRQuickUpscale
from .upscale import APISRUpscale
from .video import APISRUpscaleVideo


class ApisrExtension(ComfyExtension):
    @override
    async def on_load(self) -> None:
        routes.add_routes(PromptServer.instance.routes)
        await replacements.register(ComfyAPI())

    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            APISRModelLoader,
            APISRUpscale,
            APISRUpscaleVideo,
            APISRQuickUpscale,
            APISRCompare,
            APISRContactSheet,
        ]
