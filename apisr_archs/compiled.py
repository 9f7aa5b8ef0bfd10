"""torch.compile for those who ask for it: checked, and never worse than without it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .finite import is_finite
from .layers import FilledNetwork

log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""How much a compiled network may differ from its own result in fp32: a quarter of a step of 8 bits."""
ROUNDINGS = 4
"""The same in lower precisions, in roundings of the largest number: a step in fp16, eight in bf16, which are about as
far from fp32 without it."""


MOST_VARIANTS = 64
"""Kinds and sizes of a region that are compiled; torch gives up at 8. Further ones run as they are."""


class Compiled:
    """Runs a model's network through torch.compile, region by region: blocks of a kind are compiled once.

    A size is compiled when it comes for the second time, and its first result compared with the network's own. After an
    error or a wrong result only the network itself is used. Nothing of it is kept, so copies of a model may share this.
    """

    def __init__(self) -> None:
        self.forwards: dict[type[nn.Module], Callable[..., Any]] = {}
        self.home: tuple[torch.dtype, torch.device] | None = None
        self.seen: set[torch.Size] = set()
        self.checked: set[torch.Size] = set()
        self.is_given_up = False

    def __call__(
        self, call: Callable[[Any, Tensor], Tensor], network: nn.Module, image: Tensor, tell: Callable[[str], None]
    ) -> Tensor:
        """call(network, image), compiled if that works.

        tell: called with a line for the user before the first time, which takes long, and when it does not work.
        """
        where = image.dtype, image.device
        self.home = self.home or where  # elsewhere it runs only in an emergency
        if self.is_given_up or where != self.home or image.shape not in self.seen:
            self.seen.add(image.shape)
            return call(network, image)
        if image.shape not in self.checked and not (self.checked and getattr(network, "any_size", False)):
            height, width = image.shape[-2:]
            tell(f"The model is being compiled for {width}x{height}, which takes a minute or more.")
        result = problem = None
        try:
            with self._compiled_regions(network), torch._dynamo.config.patch(cache_size_limit=MOST_VARIANTS):
                result = call(network, image)
        except torch.cuda.OutOfMemoryError:
            raise  # for whoever can make the picture smaller
        except Exception as error:  # compilers fail in many ways; the network's own run tells whether it is to blame
            log.debug("torch.compile failed", exc_info=True)
            problem = f"{type(error).__name__}: {error}".splitlines()[0]
        if result is not None and image.shape in self.checked:
            return result
        expected = call(network, image)
        if not is_finite(expected):
            return expected  # half precision was too small: not the compiler's fault
        if result is not None:
            problem = _difference(result, expected)
        if problem:
            self.is_given_up = True
            tell(f"The model runs without torch.compile, which did not work here ({problem}).")
        self.checked.add(image.shape)
        return expected

    @contextmanager
    def _compiled_regions(self, network: nn.Module) -> Iterator[None]:
        """As long as this lasts, the network's regions run compiled."""
        block, any_size = (network.region, network.any_size) if isinstance(network, FilledNetwork) else (None, False)
        found = [module for module in network.modules() if block and isinstance(module, block)] or [network]
        regions = [module for module in found if "forward" not in vars(module)]  # else somebody has put theirs there
        try:
            for region in regions:
                kind = type(region)
                if kind not in self.forwards:
                    self.forwards[kind] = torch.compile(kind.forward, dynamic=any_size)
                region.forward = MethodType(self.forwards[kind], region)
            yield
        finally:
            for region in regions:
                vars(region).pop("forward", None)


def _difference(result: Tensor, expected: Tensor) -> str | None:
    """What is wrong with a result; None if nothing is."""
    if result.shape != expected.shape:
        return f"it gave {tuple(result.shape)}, not {tuple(expected.shape)}"
    allowed = max(TOLERANCE, ROUNDINGS * torch.finfo(expected.dtype).eps)
    difference = float((result - expected).abs().amax())
    return None if difference <= allowed else f"it is {difference:.3g} off"
