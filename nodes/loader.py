"""The node Load APISR Model: an entry of the model list -> UPSCALE_MODEL."""

import re
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..apisr_archs import load_model, set_precision
from ..apisr_archs.errors import printable_errors
from ..apisr_archs.files import zoo
from ..apisr_archs.files.download import download as download_weights
from ..apisr_archs.text import get_logger
from ..engine import arguments
from . import catalogue, host

log = get_logger(__name__)

PRECISIONS = ("auto", "fp32", "fp16", "bf16")
OTHER_GPU = re.compile(r"gpu:\d{1,3}")
"""ComfyUI's names for GPUs. A workflow from a machine with more GPUs runs on the default device."""


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
                    tooltip="The model. The bundled one works at once. The APISR models are downloaded on first use. "
                    "Your own upscale models are listed below them.",
                ),
                io.Combo.Input(
                    "precision",
                    optional=True,
                    options=list(PRECISIONS),
                    default="auto",
                    tooltip="auto: fp16 on GPUs that are good at it, else fp32. fp16 needs half the memory. "
                    "bf16 is less exact than fp16.",
                ),
                io.Boolean.Input(
                    "download",
                    optional=True,
                    default=True,
                    tooltip="Fetch an APISR model that is not there yet, and verify it. Off: an error says how.",
                ),
                io.Combo.Input(
                    "device",
                    optional=True,
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
    def validate_inputs(cls, model_name: str | None = None, device: str | None = None) -> bool:
        """Skip ComfyUI's own check of both lists: workflows come from machines with other files and GPUs.

        `execute` reports what is missing. The UI hides the text of an error raised here, and shows a returned one
        once for each parameter of this method.
        """
        return True

    @classmethod
    def fingerprint_inputs(
        cls, model_name: str | None = None, download: bool = True, **_: Any
    ) -> tuple[str, str | int, str | int] | None:
        """Changes with the file's content, so that a replaced file is reloaded. None for a linked name."""
        return None if model_name is None else catalogue.fingerprint(str(model_name), download)

    @classmethod
    @printable_errors
    def execute(
        cls,
        model_name: str,
        precision: str = "auto",
        download: bool = True,
        device: str = "default",
    ) -> io.NodeOutput:
        # linked inputs can have any value
        arguments.text(model_name, "model_name", "the name of a model in the list")
        arguments.one_of(precision, "precision", PRECISIONS)
        download = arguments.flag(download, "download")
        if not OTHER_GPU.fullmatch(arguments.text(device, "device", "the name of a device in the list")):
            arguments.one_of(device, "device", tuple(host.device_options()))
        found = catalogue.locate(model_name, download)
        path = found if isinstance(found, Path) else _download(found)
        target_device = host.pick_device(device)
        # set the dtype before the memory manager takes over: it records the size and keeps copies of the weights
        model = load_model(path, "fp32" if precision == "auto" else precision)
        if precision == "auto" and model.supports_half and host.is_good_at_fp16(target_device):
            set_precision(model, "fp16")
        host.hand_over(model, target_device)
        if wrong := catalogue.unlike_published(path):
            log.warning("%s is not the published file: %s.", path, wrong)
        log.info("%s: %s %dx, %s, on %s", path.name, model.architecture.name, model.scale, model.dtype, target_device)
        return io.NodeOutput(model)


def _download(known: zoo.ZooModel) -> Path:
    return download_weights(
        known, catalogue.download_folder(), on_progress=host.Bar().advance, is_cancelled=host.stop_if_interrupted
    )
