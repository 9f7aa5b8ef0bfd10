"""The UPSCALE_MODEL that this pack returns: a spandrel descriptor that casts its input and has `facts`."""

import copy
import re
from collections.abc import Callable
from typing import Any, cast

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor, nn
from typing_extensions import override

from .errors import UnsupportedWeights
from .facts import Facts
from .networks.parts.finite import is_finite
from .networks.parts.layers import FilledNetwork
from .networks.parts.padding import pad
from .networks.parts.way import WHOLE, Way
from .text import get_logger

log = get_logger(__name__)

MIXED_DTYPES = re.compile(r"same dtype|should be the same|scalar type", re.IGNORECASE)
"""Matches torch's errors about operands of different dtypes."""


class UpscaleModel(ImageModelDescriptor[nn.Module]):
    """A spandrel `ImageModelDescriptor` with `facts`, for any node that takes an upscale model.

    Core nodes always pass fp32 images, regardless of the dtype of the weights; a plain descriptor would fail. Output
    that overflows in half precision is computed again in fp32.
    """

    facts: Facts
    name = ""
    """The name of the file that it was loaded from, without a folder."""
    needs_autocast = False
    """Whether the network, in half precision, has failed because it creates fp32 tensors itself."""

    def __init__(self, *args: Any, facts: Facts, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.facts = facts

    @override
    def __call__(self, image: Tensor, tell: Callable[[str], None] | None = None, way: Way = WHOLE) -> Tensor:
        """(B, C, H, W) in [0, 1], any float dtype -> (B, C, H * scale, W * scale) in [0, 1] of the same dtype.

        The image is never written to.

        tell: called with a line for the user when the output has NaN or infinity; None: the line is logged.
        way: strips and means, see `Way`; must be WHOLE for networks that are not ours.
        """
        # not spandrel's own __call__: that uses inference mode, which not every device supports (DirectML)
        height, width = image.shape[-2:]
        right, bottom = self.size_requirements.get_padding(width, height)
        with torch.no_grad():
            output = self._finite(pad(image.to(self.dtype), right, bottom), tell or log.warning, way)
            output = output[..., : height * self.scale, : width * self.scale].clamp_(0, 1)
            return output.to(image.dtype)

    def _finite(self, image: Tensor, tell: Callable[[str], None], way: Way) -> Tensor:
        """The network's output, computed again in fp32 if it has NaN or infinity. (Clamping would hide infinity.)"""
        output = self._run(self.model, image, way)
        if is_finite(output):
            return output
        name = type(self.model).__name__
        if image.dtype == torch.float32:
            tell(f"{name} gave NaN or infinity; its weights, or the picture, may be damaged.")
            return output
        tell(f"{name} overflowed in {image.dtype}; such parts are computed again in fp32.")
        return self._run(copy_network(self.model, torch.float32), image.float(), way)

    def _run(self, network: nn.Module, image: Tensor, way: Way) -> Tensor:
        if isinstance(network, FilledNetwork):
            return network(image, way)
        # spandrel's networks accept only the image, and some have a call function of their own
        is_half = image.dtype in (torch.float16, torch.bfloat16)
        if not (is_half and self.needs_autocast):
            try:
                return self._call_fn(network, image.clone())  # some networks write into their input
            except RuntimeError as error:
                if not (is_half and MIXED_DTYPES.search(str(error))):
                    raise
        if not torch.amp.autocast_mode.is_autocast_available(image.device.type):
            raise UnsupportedWeights(
                f"{self.architecture.name} cannot run in {image.dtype} on {image.device}. Load it in fp32."
            )
        with torch.autocast(image.device.type, image.dtype):
            output = self._call_fn(network, image.clone()).to(image.dtype)
        self.needs_autocast = True
        return output


def copy_network(network: nn.Module, dtype: torch.dtype, device: torch.device | None = None) -> nn.Module:
    """A copy of a network with its weights in another dtype, and on another device if one is given.

    The original is not changed: other threads may be running it, and a memory manager may be tracking it. Everything
    but the weights is shared with the original, including hooks.
    """
    copies: dict[nn.Module, nn.Module] = {}

    def convert(tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        converted = tensor.detach().to(device, dtype if tensor.is_floating_point() else tensor.dtype)
        return nn.Parameter(converted, requires_grad=False) if isinstance(tensor, nn.Parameter) else converted

    def copied(module: nn.Module) -> nn.Module:
        if module not in copies:
            twin = copies[module] = copy.copy(module)
            for kind in ("_parameters", "_buffers"):
                vars(twin)[kind] = {name: convert(tensor) for name, tensor in vars(module)[kind].items()}
            vars(twin)["_modules"] = {
                name: None if child is None else copied(child) for name, child in module._modules.items()
            }
        return copies[module]

    return copied(network)


def with_network(model: Any, network: nn.Module) -> Any:
    """A shallow copy of any UPSCALE_MODEL, with another network of the same kind."""
    twin = copy.copy(model)
    if isinstance(model, ImageModelDescriptor):
        cast(Any, twin)._model = network  # its `model` is read-only
    else:
        twin.model = network
    return twin
