"""The node Load APISR Model: an entry of the model list -> UPSCALE_MODEL."""

import re
import time
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from ..apisr_archs import UpscaleModel, load_model, set_precision
from ..apisr_archs.files import zoo
from ..apisr_archs.text import get_logger
from ..engine import arguments
from . import catalogue, host, inputs
from .downloads import DOWNLOADS
from .entries import loaded_lines
from .measured import MEASURED
from .status import HIDDEN, SECONDS_BETWEEN, NodeStatus, told

log = get_logger(__name__)

PRECISIONS = ("auto", "fp32", "fp16", "bf16")
OTHER_GPU = re.compile(r"gpu:\d{1,3}")
"""ComfyUI's names for GPUs. A workflow from a machine with more GPUs runs on the default device."""


def model_input() -> io.Input:
    """The model list. Its values are names of files; pages with our script show labels instead."""
    return io.Combo.Input(
        "model_name",
        options=catalogue.names(),
        default=catalogue.BUNDLED,
        tooltip="The bundled model works at once. Others of the list are fetched on first use; yours are below them.",
    )


class APISRModelLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="APISRModelLoader",
            display_name="Load APISR Model",
            category="model/loaders",
            description="Loads an APISR model, or any other upscale model, for anime pictures.",
            search_aliases=[*inputs.SEARCH_WORDS, "upscale model", "load upscale model"],
            inputs=[
                model_input(),
                io.Combo.Input(
                    "precision",
                    optional=True,
                    options=list(PRECISIONS),
                    default="auto",
                    tooltip="auto: fp16 on GPUs that are good at it, else fp32. bf16 is less exact.",
                ),
                io.Boolean.Input(
                    "download",
                    optional=True,
                    default=True,
                    tooltip="Fetch a model of the list that is not there yet, and check it. Off: an error says how.",
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
            hidden=HIDDEN,
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
    @told
    def execute(
        cls,
        model_name: str,
        precision: str = "auto",
        download: bool = True,
        device: str = "default",
    ) -> io.NodeOutput:
        status = NodeStatus(cls.hidden)
        model, target_device = load(model_name, status, precision, download, device)
        dtype = str(model.dtype).removeprefix("torch.")
        lines = loaded_lines(status.language, MEASURED.models[model.name], dtype, str(target_device))
        status.show(*lines, state="done")
        return io.NodeOutput(model)


def load(
    model_name: Any, status: NodeStatus, precision: Any = "auto", download: Any = True, device: Any = "default"
) -> tuple[UpscaleModel, torch.device]:
    """Load the model of a node's inputs, and fetch it first if need be. Also returns the device that it will run on.

    Raises:
        ValueError: an input is invalid; linked inputs can have any value.
        ApisrError: the model is missing, or cannot be fetched or loaded.
    """
    arguments.text(model_name, "model_name", "the name of a model in the list")
    arguments.one_of(precision, "precision", PRECISIONS)
    download = arguments.flag(download, "download")
    if not OTHER_GPU.fullmatch(arguments.text(device, "device", "the name of a device in the list")):
        arguments.one_of(device, "device", tuple(host.device_options()))
    found = catalogue.locate(model_name, download)
    path = found if isinstance(found, Path) else _download(found, status)
    target_device = host.pick_device(device)
    if device not in host.device_options():
        log.warning("There is no device %r here; using the default one.", device)
    # set the dtype before the memory manager takes over: it records the size and keeps copies of the weights
    model = load_model(path, "fp32" if precision == "auto" else precision)
    if precision == "auto" and model.supports_half and host.is_good_at_fp16(target_device):
        set_precision(model, "fp16")
    host.hand_over(model, target_device)
    MEASURED.note(model)
    if wrong := catalogue.unlike_published(path):
        log.warning("%s is not the published file: %s.", path, wrong)
    log.info("%s: %s %dx, %s, on %s", path.name, model.architecture.name, model.scale, model.dtype, target_device)
    return model, target_device


def _download(known: zoo.ZooModel, status: NodeStatus) -> Path:
    bar = host.Bar()
    name = catalogue.short_name(known.file)
    shown_at = 0.0

    def advance(done: int, total: int) -> None:
        nonlocal shown_at
        bar.advance(done, total)
        if time.monotonic() - shown_at >= SECONDS_BETWEEN:
            shown_at = time.monotonic()
            status.show(status.say("downloading", name=name, done=round(done / 1e6), total=round(total / 1e6)))

    return DOWNLOADS.fetch(known, host.stop_if_interrupted, advance)
