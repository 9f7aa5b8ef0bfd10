"""The node APISR Quick Upscale: an entry of the model list + IMAGE -> IMAGE, with no other node."""

from typing import Any, ClassVar

from comfy_api.latest import io

from ..apisr_archs import UpscaleModel
from . import catalogue, inputs, pictures
from .loader import load, model_input
from .status import HIDDEN, NodeStatus, told


class LastModel:
    """The model that was used last, so that it need not be loaded for each run."""

    def __init__(self) -> None:
        self._model: UpscaleModel | None = None
        self._content: catalogue.Fingerprint | None = None

    def get(self, name: str, status: NodeStatus) -> UpscaleModel:
        """The model of that entry. It is loaded, and fetched first, if it is not the last one or its file changed."""
        content = catalogue.fingerprint(str(name), download=True)
        if self._model is None or content is None or content != self._content:
            self._model = None  # free the old one first
            self._model, _ = load(name, status)
            self._content = content
        return self._model


class APISRQuickUpscale(io.ComfyNode):
    last: ClassVar = LastModel()

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="APISRQuickUpscale",
            display_name="APISR Quick Upscale",
            category="image/upscaling",
            description="Makes anime pictures larger, all in one node: choose a model, connect a picture, press Run.",
            search_aliases=["anime", "upscale", "quick upscale", *inputs.SEARCH_WORDS],
            inputs=[model_input(), *pictures.picture_inputs()],
            hidden=HIDDEN,
            outputs=[io.Image.Output(tooltip="The larger pictures, with the channels of image; RGBA with a mask.")],
            accept_all_inputs=True,  # see `inputs.size_request`
            has_intermediate_output=True,  # see `NodeStatus.kept`
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None = None, resize_to: Any = None) -> bool:
        """Skip ComfyUI's own check of the list, as in the loader. resize_to: passed by ComfyUI, asked for or not."""
        return True

    @classmethod
    def fingerprint_inputs(cls, model_name: str | None = None, **_: Any) -> catalogue.Fingerprint | None:
        """Changes with the file's content. None for a linked name."""
        return None if model_name is None else catalogue.fingerprint(str(model_name), download=True)

    @classmethod
    @told
    def execute(
        cls,
        model_name: str,
        image: Any,
        mask: Any = None,
        resize_to: Any = None,
        multiple_of: int = 1,
        **others: Any,
    ) -> io.NodeOutput:
        mode, amount = inputs.size_request(resize_to, others)
        status = NodeStatus(cls.hidden)
        model = cls.last.get(model_name, status)
        options = pictures.Options(mode, amount, multiple_of)
        result = pictures.upscale(model, image, mask, options, status)
        return io.NodeOutput(result, ui=status.kept)
