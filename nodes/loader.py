"""Load APISR Model: an entry of the model list -> UPSCALE_MODEL."""

import logging
from typing import Any

from comfy_api.latest import io

from ..apisr_archs import load_model, zoo
from ..apisr_archs.download import download as download_weights
from . import catalogue, host

log = logging.getLogger(__name__)

PRECISIONS = ("auto", "fp32", "fp16", "bf16")


class APISRModelLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="APISRModelLoader",
            display_name="Load APISR Model",
            category="model/loaders",
            description="Loads an APISR model, or any other upscale model, for anime pictures.",
            search_aliases=["apisr", "anime upscaler", "super resolution", "upscale model", "GRL", "RRDB", "DAT"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=catalogue.names(),
                    default=catalogue.BUNDLED,
                    tooltip="The model. The bundled one works at once and is the fastest. APISR models give the best "
                    "pictures and are downloaded on first use; your own upscale models are listed below them.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="auto",
                    tooltip="auto: fp16 on GPUs that are good at it, else fp32. fp16 halves the memory and differs by "
                    "less than one step of 255. bf16 is less exact than fp16.",
                ),
                io.Boolean.Input(
                    "download",
                    default=True,
                    tooltip="Fetch an APISR model that is not there yet, and verify it. Off: an error says how.",
                ),
                io.Combo.Input(
                    "device",
                    options=host.device_options(),
                    default="default",
                    advanced=True,
                    tooltip="Where the model runs. default: the device that ComfyUI uses.",
                ),
            ],
            outputs=[
                io.UpscaleModel.Output(
                    tooltip='For "Upscale Image (APISR)", and for every other node that takes an upscale model.'
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None = None, device: str | None = None) -> bool | str:
        """Judges both lists itself: workflows come from machines with other files and other GPUs."""
        if model_name is None or zoo.find(model_name) or catalogue.find(model_name):
            return True
        return catalogue.missing_message(model_name)

    @classmethod
    def fingerprint_inputs(cls, model_name: str, **_: Any) -> tuple[str, int, int] | str:
        """Follows the file: a replaced one is loaded anew."""
        path = catalogue.find(model_name)
        if path is None or not path.is_file():
            return "missing"
        stat = path.stat()
        return str(path), stat.st_mtime_ns, stat.st_size

    @classmethod
    def execute(cls, model_name: str, precision: str, download: bool, device: str) -> io.NodeOutput:
        known = zoo.find(model_name)
        if known and download and catalogue.find(model_name) is None:
            path = download_weights(
                known,
                catalogue.download_folder(),
                on_progress=host.progress(),
                is_cancelled=host.stop_if_interrupted,
            )
        else:
            path = catalogue.require(model_name)
        where = host.pick_device(device)
        # the dtype is settled before the memory manager takes over: it keeps the size and copies of the weights
        model = load_model(path, "fp32" if precision == "auto" else precision)
        if precision == "auto" and model.supports_half and host.is_good_at_fp16(where):
            model.half()
        host.hand_over(model, where)
        log.info("%s: %s %dx, %s, on %s", path.name, model.architecture.name, model.scale, model.dtype, where)
        return io.NodeOutput(model)
