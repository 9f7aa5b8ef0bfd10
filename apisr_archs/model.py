"""The UPSCALE_MODEL that this pack hands out: a spandrel descriptor that casts by itself and knows its facts."""

import logging
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor, nn
from typing_extensions import override

from .facts import Facts

log = logging.getLogger(__name__)

Call = Callable[[nn.Module, Tensor], Tensor]


class UpscaleModel(ImageModelDescriptor[nn.Module]):
    """A spandrel `ImageModelDescriptor` with `facts`, for any node that takes an upscale model.

    Core nodes always call with fp32 images, whatever the precision of the weights; a plain descriptor would fail.
    What overflows in half precision is computed again in fp32.
    """

    facts: Facts

    def __init__(self, *args: Any, facts: Facts, call_fn: Call | None = None, **kwargs: Any) -> None:
        super().__init__(*args, call_fn=_finite(call_fn or _plain), **kwargs)
        self.facts = facts

    @override
    def __call__(self, image: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1], any float dtype -> (B, C, H * scale, W * scale) in [0, 1] of the same dtype."""
        return super().__call__(image.to(self.dtype)).to(image.dtype)


def _plain(network: nn.Module, image: Tensor) -> Tensor:
    return network(image)


def _finite(call: Call) -> Call:
    """`call`, and once more in fp32 if that gave NaN or infinity. Here, since the descriptor clamps infinity away."""

    def run(network: nn.Module, image: Tensor) -> Tensor:
        output = call(network, image)
        if output.isfinite().all():
            return output
        if image.dtype == torch.float32:
            log.warning("%s gave NaN or infinity; its weights may be damaged.", type(network).__name__)
            return output
        log.warning("%s overflowed in %s; this part is computed again in fp32.", type(network).__name__, image.dtype)
        floats = [t for t in chain(network.parameters(), network.buffers()) if t.is_floating_point()]
        kept = [tensor.data for tensor in floats]
        try:
            for tensor in floats:
                tensor.data = tensor.data.float()
            return call(network, image.float())
        finally:  # needs no memory: the way here may have ended for lack of it
            for tensor, data in zip(floats, kept, strict=True):
                tensor.data = data

    return run
