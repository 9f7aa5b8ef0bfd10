"""Stand-in models: small networks whose right answer is known, and models around them that fail when told to.

Networks, (B, C, H, W) -> (B, C, scale * H, scale * W):
    Nearest       enlarges each pixel; takes strips and means like our networks; they change nothing
    Blur          enlarges the mean of the pixels around each
Models are what the engine is called with:
    StandIn       around any network, with only what every other pack's UPSCALE_MODEL has
    NearestModel, BlurModel    around these networks
    HalfModel     in fp16; some of its results overflow
    Counted       around any other model, a real one for instance
All models record their calls, and run out of memory, or fail otherwise, at those that `fails` names.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from apisr_pack.apisr_archs import WHOLE, Facts, Halo, Way
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from torch import Tensor, nn

FACTS = Facts(2, 1, Halo(8, 8), 16, bytes_per_pixel(1000))
"""Facts of a network that works at any size, in round numbers."""
REACH = 3
"""How far `Blur` sees: nothing more is right, nothing less is enough."""


class Nearest(nn.Module):
    """A network that enlarges each pixel, behind some layers that exist only to be watched."""

    def __init__(self, scale: int = 2, layers: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Identity() for _ in range(layers)))
        self.scale = scale
        self.calls: list[torch.Size] = []
        """Shapes of the images of all calls, those of copies (see `copy_network`) included."""

    def forward(self, x: Tensor, way: Way = WHOLE) -> Tensor:
        self.calls.append(x.shape)
        assert x.is_contiguous()
        way.means.begin()  # asks for the mean over the picture, which has no effect
        way.means.share(way.means.part(x.permute(0, 2, 3, 1)).mean(dim=(1, 2)))
        return F.interpolate(self.layers(x), scale_factor=self.scale, mode="nearest")


def enlarged(images: Tensor, scale: int) -> Tensor:
    """What `Nearest` should return, for pictures (B, H, W, C)."""
    return images.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


class Blur(nn.Module):
    """A 2x network that enlarges the mean of all pixels within `REACH`: one wrong pixel shows in all around it."""

    def forward(self, x: Tensor) -> Tensor:
        blurred = F.avg_pool2d(x, 2 * REACH + 1, stride=1, padding=REACH)
        return F.interpolate(blurred, scale_factor=2)


@dataclass(frozen=True)
class Attempt:
    """A call of a model, whether it is answered or fails."""

    number: int
    """Calls before it, those of copies of the model included."""
    image: Tensor
    """The tensor itself, (B, C, H, W)."""
    rows: int | None
    """Height of the strips that were asked for."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.image.shape[-2:]
        return height, width


When = Callable[[Attempt], bool]
"""Which calls fail."""


def at(numbers: Container[int]) -> When:
    """Fail at the calls with these numbers, from 0."""
    return lambda attempt: attempt.number in numbers


def larger_than(pixels: int) -> When:
    """Fail with larger images than that, as on a device with little memory."""
    return lambda attempt: attempt.image.shape[-2] * attempt.image.shape[-1] > pixels


def on_meta(attempt: Attempt) -> bool:
    """Fail on the meta device, which stands for one with no memory. (Tensors there have no data.)"""
    return attempt.image.is_meta


def out_of_memory() -> Exception:
    return torch.OutOfMemoryError("out of memory")


class Recording:
    """Base of the models: records their calls and fails at some."""

    def __init__(self, fails: When | None = None, error: Callable[[], Exception] = out_of_memory) -> None:
        self.fails, self.error = fails, error
        self.attempts: list[Attempt] = []

    def __call__(self, image: Tensor, **how: Any) -> Tensor:
        attempt = Attempt(len(self.attempts), image, how.get("way", WHOLE).rows)
        self.attempts.append(attempt)
        if self.fails and self.fails(attempt):
            raise self.error()
        return self.answer(image, **how)

    def answer(self, image: Tensor, **how: Any) -> Tensor:
        raise NotImplementedError

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Height and width of the images."""
        return [attempt.size for attempt in self.attempts]

    @property
    def pixels(self) -> int:
        """How many pixels the images have together."""
        return sum(height * width for height, width in self.shapes)

    @property
    def rows(self) -> list[int | None]:
        return [attempt.rows for attempt in self.attempts]


class StandIn(Recording):
    """A model around any network. `attributes` are set on it, like `device` or `dtype`."""

    def __init__(
        self,
        network: Callable[..., Tensor],
        facts: Facts = FACTS,
        *,
        fails: When | None = None,
        error: Callable[[], Exception] = out_of_memory,
        **attributes: Any,
    ) -> None:
        super().__init__(fails, error)
        self.model: Any = network
        self.facts, self.scale = facts, facts.scale
        vars(self).update(attributes)

    def answer(self, image: Tensor, **how: Any) -> Tensor:
        return self.model(image, **how)


class NearestModel(StandIn):
    def __init__(self, scale: int = 2, channels: int = 3, *, facts: Facts | None = None, **options: Any) -> None:
        super().__init__(Nearest(scale), facts or Facts(scale, 8, Halo(8, 8), 16, bytes_per_pixel(1000)), **options)
        self.input_channels = self.output_channels = channels


class BlurModel(StandIn):
    def __init__(self) -> None:
        super().__init__(Blur(), Facts(2, 4, Halo(REACH, REACH), 4, bytes_per_pixel(100)))


class HalfModel(StandIn):
    """A model in fp16 whose results have NaN at some calls, counted from 0, as long as it is in fp16."""

    def __init__(self, network: nn.Module, facts: Facts, spoilt: Container[int]) -> None:
        super().__init__(network, facts)
        network.register_parameter("weight", nn.Parameter(torch.zeros(1).half(), requires_grad=False))
        self.spoilt = spoilt

    @property
    def dtype(self) -> torch.dtype:
        return self.model.weight.dtype

    @property
    def calls(self) -> int:
        return self._count(torch.float16)

    @property
    def reruns(self) -> int:
        return self._count(torch.float32)

    def answer(self, image: Tensor, **how: Any) -> Tensor:
        assert image.dtype == self.dtype
        result = super().answer(image, **how)
        if image.dtype == torch.float16 and self.calls - 1 in self.spoilt:
            middle = result.shape[-2] // 2, result.shape[-1] // 2
            for row, column in ((-1, -1), middle):  # the last pixel may lie where a tile overlaps the next
                result[..., row, column] = float("nan")
        return result

    def _count(self, dtype: torch.dtype) -> int:
        return sum(attempt.image.dtype == dtype for attempt in self.attempts)


class Counted(Recording):
    """Wraps any model, for instance a real one, and passes its attributes on."""

    def __init__(self, model: Any, fails: When | None = None) -> None:
        super().__init__(fails)
        self.inner = model

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not there yet while a copy is made
            raise AttributeError(name)
        return getattr(self.inner, name)

    def answer(self, image: Tensor, **how: Any) -> Tensor:
        return self.inner(image, **how)
