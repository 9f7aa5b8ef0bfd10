"""One tile through the network: casting, channels, and what others' models need; half precision that is too small."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..apisr_archs import WHOLE, UpscaleModel, Way, copy_network, is_finite, pad, with_network
from . import devices, pixels


@dataclass(frozen=True)
class Network:
    """An UPSCALE_MODEL that takes tiles of pictures."""

    model: Any
    device: torch.device
    dtype: torch.dtype
    scale: int
    minimum: int
    """Input pixels that it needs along each side."""
    tell: Callable[[str], None]
    """Called with a line for the user when a result is not finite."""

    @property
    def module(self) -> nn.Module | None:
        """The network itself; None if the model hides it."""
        module = getattr(self.model, "model", None)
        return module if isinstance(module, nn.Module) else None

    def on_cpu(self, module: nn.Module) -> "Network":
        """The same around a copy of `module`, its own one, in fp32 on the CPU. The original stays where it is."""
        model = with_network(self.model, copy_network(module, torch.float32, devices.CPU))
        return replace(self, model=model, device=devices.CPU, dtype=torch.float32)

    def run(self, tile: Tensor, way: Way = WHOLE) -> Tensor:
        """(h, w, 1 or 3) -> (h * scale, w * scale, 1 or 3) in [0, 1].

        way: how the network is run.

        Raises:
            ValueError: the model's answer is no picture, or has another size.
        """
        height, width, colors = tile.shape
        batch = pixels.to_network(tile, getattr(self.model, "input_channels", 3), self.device, self.dtype)
        # a one-channel network gets the colors one after the other: memory is planned for one picture
        results = [self._finite(one, way) for one in batch.split(1)]
        result = results[0] if len(results) == 1 else torch.cat(results)
        return pixels.from_network(result[..., : height * self.scale, : width * self.scale], grey=colors == 1)

    def _finite(self, batch: Tensor, way: Way) -> Tensor:
        """The output in [0, 1]; if half precision was too small for it, once more in fp32."""
        if isinstance(self.model, UpscaleModel):
            return self._checked(batch, self.model(batch, tell=self.tell, way=way))  # it sees to both itself
        batch = pad(batch, max(0, self.minimum - batch.shape[-1]), max(0, self.minimum - batch.shape[-2]))
        how = {} if way == WHOLE else {"way": way}  # spandrel's models take no more than the image
        result = self._checked(batch, self.model(batch.clone(), **how))  # some networks write into their input
        if not is_finite(result):
            result = self._in_fp32(batch, how, result)
        return result.clamp(0, 1)

    def _checked(self, batch: Tensor, result: Any) -> Tensor:
        """The model's answer, if it is one of the right size: what is too large would be cut off unseen."""
        if not isinstance(result, Tensor):
            raise ValueError(f"The model gave a {type(result).__name__} instead of a picture. Choose another model.")
        expected = *batch.shape[:2], batch.shape[2] * self.scale, batch.shape[3] * self.scale
        if result.shape != expected:
            raise ValueError(
                f"The model made {tuple(result.shape[-2:])} pixels of a tile; expected {expected[-2:]}. (The result "
                f"has the shape {tuple(result.shape)}, the tile {tuple(batch.shape)}.) Choose another model."
            )
        return result

    def _in_fp32(self, batch: Tensor, how: dict[str, Any], result: Tensor) -> Tensor:
        """The output once more in fp32, if that was not its precision: `result` has NaN or infinity."""
        if batch.dtype == torch.float32 or self.module is None:
            self.tell("The model gave NaN or infinity; its weights, or the picture, may be damaged.")
            return result
        self.tell(f"The model gave NaN in {batch.dtype}; such tiles are computed again in fp32.")
        return with_network(self.model, copy_network(self.module, torch.float32))(batch.float(), **how)
