"""Runs a network on one tile: dtype, channels, padding for foreign models, and a retry in fp32 after an overflow."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..apisr_archs import WHOLE, UpscaleModel, Way, copy_network, is_finite, pad, with_network
from . import devices, pixels


@dataclass(frozen=True)
class Network:
    """Runs an UPSCALE_MODEL on tiles of pictures."""

    model: Any
    device: torch.device
    dtype: torch.dtype
    scale: int
    minimum: int
    """Shortest side that the network accepts, in input pixels."""
    tell: Callable[[str], None]
    """Called with a line for the user when a result has NaN or infinity."""

    @property
    def module(self) -> nn.Module | None:
        """The network itself; None if the model does not expose it."""
        module = getattr(self.model, "model", None)
        return module if isinstance(module, nn.Module) else None

    def on_cpu(self, module: nn.Module) -> "Network":
        """The same network, with an fp32 copy of `module` (see `module`) on the CPU. The original is left alone."""
        model = with_network(self.model, copy_network(module, torch.float32, devices.CPU))
        return replace(self, model=model, device=devices.CPU, dtype=torch.float32)

    def run(self, tile: Tensor, way: Way = WHOLE) -> Tensor:
        """(h, w, 1 or 3) -> (h * scale, w * scale, 1 or 3) in [0, 1].

        way: strips and means; see `Way`.

        Raises:
            ValueError: the model's result is not a tensor, or has an unexpected size.
        """
        height, width, colors = tile.shape
        batch = pixels.to_network(tile, getattr(self.model, "input_channels", 3), self.device, self.dtype)
        # a one-channel network gets one color channel at a time: memory is planned for a batch of one
        results = [self._finite(image, way) for image in batch.split(1)]
        result = results[0] if len(results) == 1 else torch.cat(results)
        return pixels.from_network(result[..., : height * self.scale, : width * self.scale], gray=colors == 1)

    def _finite(self, batch: Tensor, way: Way) -> Tensor:
        """The output in [0, 1]; computed again in fp32 if it overflows in half precision."""
        if isinstance(self.model, UpscaleModel):
            return self._checked(batch, self.model(batch, tell=self.tell, way=way))  # does both by itself
        batch = pad(batch, max(0, self.minimum - batch.shape[-1]), max(0, self.minimum - batch.shape[-2]))
        options = {} if way == WHOLE else {"way": way}  # spandrel's models accept nothing but the image
        result = self._checked(batch, self.model(batch.clone(), **options))  # some networks write into their input
        if not is_finite(result):
            result = self._in_fp32(batch, options, result)
        return result.clamp(0, 1)

    def _checked(self, batch: Tensor, result: Any) -> Tensor:
        """The model's result, if it has the expected size: a larger one would be cropped without notice."""
        if not isinstance(result, Tensor):
            raise ValueError(f"The model gave a {type(result).__name__} instead of a picture. Choose another model.")
        expected = *batch.shape[:2], batch.shape[2] * self.scale, batch.shape[3] * self.scale
        if result.shape != expected:
            raise ValueError(
                f"The model made {tuple(result.shape[-2:])} pixels of a tile; expected {expected[-2:]}. (The result "
                f"has the shape {tuple(result.shape)}, the tile {tuple(batch.shape)}.) Choose another model."
            )
        return result

    def _in_fp32(self, batch: Tensor, options: dict[str, Any], result: Tensor) -> Tensor:
        """Compute `result`, which has NaN or infinity, again in fp32; return it unchanged if it was fp32 already."""
        if batch.dtype == torch.float32 or self.module is None:
            self.tell("The model gave NaN or infinity; its weights, or the picture, may be damaged.")
            return result
        self.tell(f"The model gave NaN in {batch.dtype}; such tiles are computed again in fp32.")
        return with_network(self.model, copy_network(self.module, torch.float32))(batch.float(), **options)
