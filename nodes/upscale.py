"""The node Upscale Image (APISR): UPSCALE_MODEL + IMAGE + optional MASK -> IMAGE."""

from typing import Any

from comfy_api.latest import io

from .. import engine
from ..apisr_archs import facts_of, is_misread_grl
from ..apisr_archs.errors import printable_errors
from ..engine import arguments
from . import host, inputs


class APISRUpscale(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="APISRUpscale",
            display_name="Upscale Image (APISR)",
            category="image/upscaling",
            description="Upscales pictures with a model, without seams, within the available memory.",
            search_aliases=["apisr", "anime", "upscale", "super resolution", "hires fix", "enlarge", "waifu", "4x"],
            inputs=[*_picture_inputs(), *inputs.tile_inputs(), *_other_inputs()],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Image.Output(tooltip="The upscaled pictures, with the channels of image; RGBA with a mask.")],
            accept_all_inputs=True,  # see `inputs.size_request`
        )

    @classmethod
    @printable_errors
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
        arguments.upscale_model(upscale_model, "upscale_model")
        image = arguments.pictures(image, "image")
        if mask is not None:
            image = engine.with_mask(image, mask)
        mode, amount = inputs.size_request(resize_to, others)
        arguments.one_of(alpha, "alpha", engine.ALPHA_MODES)
        limits = inputs.tile_limits(tile_size, overlap, tiling)
        tell = host.NodeText(cls.hidden.unique_id).tell
        if is_misread_grl(upscale_model):
            tell(inputs.MISREAD_GRL)
        count, height, width, _ = image.shape
        if not height or not width:  # core nodes return this for a video without frames
            return io.NodeOutput(engine.upscale(upscale_model, image, **host.output_options()))
        scale = facts_of(upscale_model).scale
        size = engine.target_size(height, width, scale, mode, amount, multiple_of)
        if not count:
            return io.NodeOutput(engine.upscale(upscale_model, image, size=size, **host.output_options()))
        job = engine.prepare(upscale_model, image.shape, size=size, alpha_by=alpha, **limits)
        host.require_room(job)
        callbacks = engine.Callbacks(host.Bar().advance, host.stop_if_interrupted, tell, host.is_out_of_memory)
        with host.loaded(upscale_model, job) as placement:
            options = {"reuse_frames": reuse_frames, "cpu_fallback": cpu_fallback}
            return io.NodeOutput(engine.upscale_batch(upscale_model, image, job, placement, callbacks, **options))


def _picture_inputs() -> list[io.Input]:
    return [
        io.UpscaleModel.Input("upscale_model", tooltip='From "Load APISR Model" or any other loader.'),
        io.Image.Input("image", tooltip="One picture or a batch of any size. Grey and transparent pictures work too."),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip='Makes the result transparent where the mask is white. Takes the MASK of "Load Image".',
        ),
        inputs.resize_input(),
        io.Int.Input(
            "multiple_of",
            optional=True,
            default=1,
            min=1,
            max=256,
            tooltip="Round width and height to a multiple of this: 8 before VAE Encode, 2 before a video.",
        ),
    ]


def _other_inputs() -> list[io.Input]:
    return [
        io.Boolean.Input(
            "reuse_frames",
            optional=True,
            default=True,
            advanced=True,
            tooltip="In a batch, compute only what differs from the frame before. Lossless; anime holds frames "
            "and moves small parts often.",
        ),
        io.Combo.Input(
            "alpha",
            optional=True,
            options=list(engine.ALPHA_MODES),
            default="model",
            advanced=True,
            tooltip="How transparency is enlarged. model: by the model, with sharp edges, in twice the time. "
            "filter: softly. Where all is equally transparent, both are the same and cost nothing.",
        ),
        inputs.cpu_fallback_input(),
    ]
