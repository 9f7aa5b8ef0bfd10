"""The node Compare Before and After (APISR): two IMAGEs, one above the other, with a divider to move."""

from typing import Any

from comfy_api.latest import io, ui

from . import inputs
from .status import HIDDEN, told


class APISRCompare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="APISRCompare",
            display_name="Compare Before and After (APISR)",
            category="image/upscaling",
            description="Shows two pictures one above the other. Move the divider; turn the wheel to look closer.",
            search_aliases=["compare", "before after", "slider", "difference", "apisr", "image comparer"],
            inputs=[
                io.Image.Input("before", tooltip="The picture on the left of the divider, of any size."),
                io.Image.Input("after", tooltip="The picture on the right. Its size is that of the comparison."),
            ],
            hidden=[io.Hidden.prompt, *HIDDEN],
            is_output_node=True,
        )

    @classmethod
    @told
    def execute(cls, before: Any, after: Any) -> io.NodeOutput:
        shown = {}
        for name, images in (("before", before), ("after", after)):
            pictures = inputs.some_pictures(images, name)
            if pictures.shape[-1] == 1:
                pictures = pictures.expand(-1, -1, -1, 3)  # the host saves no grey pictures
            shown[f"apisr_{name}"] = ui.PreviewImage(pictures, cls=cls).as_dict()["images"]
        return io.NodeOutput(ui=shown)
