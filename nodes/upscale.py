"""The node Upscale Image (APISR): UPSCALE_MODEL + IMAGE + optional MASK -> IMAGE."""

from typing import Any

from comfy_api.latest import io

from .. import engine
from . import inputs, pictures
from .status import HIDDEN, NodeStatus, told


class APISRUpscale(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="APISRUpscale",
            display_name="Upscale Image (APISR)",
            category="image/upscaling",
            description="Makes anime pictures larger with a model: no seams, any size, in the memory there is.",
            search_aliases=inputs.SEARCH_WORDS,
            inputs=[
                io.UpscaleModel.Input("upscale_model", tooltip='From "Load APISR Model" or any other loader.'),
                *pictures.picture_inputs(),
                *inputs.tile_inputs(),
                *_other_inputs(),
            ],
            hidden=HIDDEN,
            outputs=[io.Image.Output(tooltip="The larger pictures, with the channels of image; RGBA with a mask.")],
            accept_all_inputs=True,  # see `inputs.size_request`
            has_intermediate_output=True,  # see `NodeStatus.kept`
        )

    @classmethod
    @told
    def execute(
        cls,
        upscale_model: Any,
        image: Any,
        mask: Any = None,
        resize_to: Any = None,
        multiple_of: int = 1,
        tile_size: int = 0,
        overlap: int = 0,
        tiling: str = "exact",
        reuse_frames: bool = True,
        alpha: str = "model",
        cpu_fallback: bool = False,
        **others: Any,
    ) -> io.NodeOutput:
        mode, amount = inputs.size_request(resize_to, others)
        limits = inputs.tile_limits(tile_size, overlap, tiling)
        options = pictures.Options(mode, amount, multiple_of, limits, reuse_frames, alpha, cpu_fallback)
        status = NodeStatus(cls.hidden)
        result = pictures.upscale(upscale_model, image, mask, options, status)
        return io.NodeOutput(result, ui=status.kept)


def _other_inputs() -> list[io.Input]:
    return [
        io.Boolean.Input(
            "reuse_frames",
            optional=True,
            default=True,
            advanced=True,
            tooltip="In a batch, compute only what differs from the frame before. Nothing is lost by it.",
        ),
        io.Combo.Input(
            "alpha",
            optional=True,
            options=list(engine.ALPHA_MODES),
            default="model",
            advanced=True,
            tooltip="How transparency is enlarged. model: sharp edges, twice the time. filter: soft edges.",
        ),
        inputs.cpu_fallback_input(),
    ]
