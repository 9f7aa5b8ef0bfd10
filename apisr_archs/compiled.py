"""torch.compile for those who ask for it: checked, and never worse than without it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
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
MOST_SIZES = 4
"""That are compiled, where each size must be: a clip has many, if only parts of its frames are computed."""
MOST_VARIANTS = 64
"""Of a region: its kinds, times sizes, times precisions. By itself torch gives up at 8."""
COMPILING = Lock()
"""torch.compile crashes in two threads at once."""

Case = tuple[torch.Size, torch.dtype, torch.device]


class Compiled:
    """Runs a model's network through torch.compile, region by region: blocks of a kind are compiled once.

    A size is compiled when it comes for the second time, and its first result compared with the network's own. After an
    error or a wrong result only the network itself is used. Nothing of it is kept, so copies of a model may share this.
    """

    def __init__(self) -> None:
        self.forwards: dict[type[nn.Module], Callable[..., Any]] = {}
        self.seen: set[Case] = set()
        self.checked: set[Case] = set()
        self.is_given_up = False

    def __call__(
        self, call: Callable[[Any, Tensor], Tensor], network: nn.Module, image: Tensor, tell: Callable[[str], None]
    ) -> Tensor:
        """call(network, image), compiled if that works.

        tell: called with a line for the user before the first time, which takes long, and when it does not work.

        Raises:
            torch.cuda.OutOfMemoryError: whoever calls can make the picture smaller.
        """
        case = image.shape, image.dtype, image.device
        if case in self.checked and not self.is_given_up:
            result, problem = self._compiled(call, network, image)
            if result is not None:
                return result
        elif self._is_worth_it(case, network):
            if not (self.checked and _any_size(network)):
                height, width = image.shape[-2:]
                tell(f"The model is being compiled for {width}x{height}, which takes a minute or more.")
            result, problem = self._compiled(call, network, image, _alone_with_torch)
        else:
            self.seen.add(case)
            return call(network, image)
        expected = call(network, image)
        if result is not None and not is_finite(expected):
            self.seen.discard(case)  # half precision was too small: not the compiler's fault
            return expected
        problem = problem if result is None else _difference(result, expected)
        if problem:
            self.is_given_up = True
            tell(f"The model runs without torch.compile, which did not work here ({problem}).")
        self.checked.add(case)
        return expected

    def _is_worth_it(self, case: Case, network: nn.Module) -> bool:
        is_one_of_few = _any_size(network) or len(self.checked) < MOST_SIZES
        return case in self.seen and is_one_of_few and not self.is_given_up

    def _compiled(
        self,
        call: Callable[[Any, Tensor], Tensor],
        network: nn.Module,
        image: Tensor,
        under: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> tuple[Tensor | None, str]:
        """The result, or what went wrong. under: the context in which it runs."""
        try:
            with under(), self._compiled_regions(network):
                return call(network, image), ""
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # compilers fail in many ways; the network's own run tells whether it is to blame
            log.debug("torch.compile failed", exc_info=True)
            return None, f"{type(error).__name__}: {error}".splitlines()[0]

    @contextmanager
    def _compiled_regions(self, network: nn.Module) -> Iterator[None]:
        """As long as this lasts, the network's regions run compiled."""
        block = network.region if isinstance(network, FilledNetwork) else None
        found = [module for module in network.modules() if block and isinstance(module, block)] or [network]
        regions = [module for module in found if "forward" not in vars(module)]  # else somebody has put theirs there
        try:
            for region in regions:
                kind = type(region)
                if kind not in self.forwards:
                    self.forwards[kind] = torch.compile(kind.forward, dynamic=_any_size(network))
                region.forward = MethodType(self.forwards[kind], region)
            yield
        finally:
            for region in regions:
                vars(region).pop("forward", None)


@contextmanager
def _alone_with_torch() -> Iterator[None]:
    """To compile in: one thread at a time, whose setting of torch's nobody else restores."""
    with COMPILING, torch._dynamo.config.patch(cache_size_limit=MOST_VARIANTS):
        yield


def _any_size(network: nn.Module) -> bool:
    return isinstance(network, FilledNetwork) and network.any_size


def _difference(result: Tensor, expected: Tensor) -> str | None:
    """What is wrong with a result; None if nothing is."""
    if result.shape != expected.shape:
        return f"it gave {tuple(result.shape)}, not {tuple(expected.shape)}"
    allowed = max(TOLERANCE, ROUNDINGS * torch.finfo(expected.dtype).eps)
    difference = float((result - expected).abs().amax())
    return None if difference <= allowed else f"it is {difference:.3g} off"
