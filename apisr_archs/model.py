"""The UPSCALE_MODEL that this pack hands out: a spandrel descriptor that casts by itself and knows its facts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor, nn
from typing_extensions import override

from .compiled import Compiled
from .facts import Facts
from .finite import is_finite
from .padding import pad
from .text import get_logger

log = get_logger(__name__)


class UpscaleModel(ImageModelDescriptor[nn.Module]):
    """A spandrel `ImageModelDescriptor` with `facts`, for any node that takes an upscale model.

    Core nodes always call with fp32 images, whatever the precision of the weights; a plain descriptor would fail.
    What overflows in half precision is computed again in fp32.
    """

    facts: Facts
    compiled: Compiled | None = None
    """Runs the network through torch.compile, if that was asked for; not in strips."""

    def __init__(self, *args: Any, facts: Facts, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.facts = facts

    @override
    def __call__(self, image: Tensor, tell: Callable[[str], None] | None = None, **how: Any) -> Tensor:
        """(B, C, H, W) in [0, 1], any float dtype -> (B, C, H * scale, W * scale) in [0, 1] of the same dtype.

        tell: called with a line for the user when the output is not finite; None for the log.
        how: for networks that run in strips (see `Facts.strips`): `rows`; and for those of them with global statistics:
        `statistics`.
        """
        # not spandrel's own call: that runs in inference mode, which not every device can (DirectML)
        height, width = image.shape[-2:]
        right, bottom = self.size_requirements.get_padding(width, height)
        with torch.no_grad():
            output = self._finite(pad(image.to(self.dtype), right, bottom), tell or log.warning, **how)
            output = output[..., : height * self.scale, : width * self.scale].clamp_(0, 1)
            return output.to(image.dtype)

    def _finite(self, image: Tensor, tell: Callable[[str], None], **how: Any) -> Tensor:
        """The network's output; if that has NaN or infinity, once more in fp32. (Clamping would hide infinity.)"""
        if self.compiled and not how:
            output = self.compiled(self._call_fn, self.model, image, tell)
        else:
            output = self._run(image, **how)
        if is_finite(output):
            return output
        name = type(self.model).__name__
        if image.dtype == torch.float32:
            tell(f"{name} gave NaN or infinity; its weights, or the picture, may be damaged.")
            return output
        tell(f"{name} overflowed in {image.dtype}; such parts are computed again in fp32.")
        with in_fp32(self.model):
            return self._run(image.float(), **how)

    def _run(self, image: Tensor, **how: Any) -> Tensor:
        # spandrel's own networks take no more than the image, and some want to be called in their own way
        return self.model(image, **how) if how else self._call_fn(self.model, image)


@contextmanager
def uncompiled(model: Any) -> Iterator[None]:
    """As long as this lasts, any UPSCALE_MODEL runs without torch.compile."""
    compiled = getattr(model, "compiled", None)
    if compiled is None:
        yield
        return
    model.compiled = None
    try:
        yield
    finally:
        model.compiled = compiled


@contextmanager
def in_fp32(network: nn.Module, device: torch.device | None = None) -> Iterator[None]:
    """The weights in fp32, and on another device if one is named, for as long as this lasts.

    Whoever manages the originals need not know. Leaving takes no memory, as one may leave for lack of it.
    """
    # other tensors in their places, as `Module.to` does where `.data` cannot be exchanged (DirectML)
    places: list[tuple[dict[str, Any], str, Tensor]] = [
        (cast(dict[str, Any], holder), name, tensor)
        for module in network.modules()
        for holder in (module._parameters, module._buffers)
        for name, tensor in holder.items()
        if tensor is not None
    ]
    try:
        for holder, name, tensor in places:
            copy = tensor.detach().to(device, torch.float32 if tensor.is_floating_point() else tensor.dtype)
            holder[name] = nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy
        yield
    finally:
        for holder, name, tensor in places:
            holder[name] = tensor
