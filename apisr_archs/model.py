"""The UPSCALE_MODEL that this pack hands out: a spandrel descriptor that casts by itself and knows its facts."""

from typing import Any

from spandrel import ImageModelDescriptor
from torch import Tensor, nn
from typing_extensions import override

from .facts import Facts


class UpscaleModel(ImageModelDescriptor[nn.Module]):
    """A spandrel `ImageModelDescriptor` with `facts`.

    Core nodes always call with fp32 images, whatever the precision of the weights; a plain descriptor would fail.
    """

    facts: Facts

    def __init__(self, *args: Any, facts: Facts, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.facts = facts

    @override
    def __call__(self, image: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1], any float dtype -> (B, C, H * scale, W * scale) in [0, 1] of the same dtype."""
        return super().__call__(image.to(self.dtype)).to(image.dtype)
