"""From a state dict to a model, by keys and shapes only; the file's name plays no part.

Our networks come first; spandrel loads everything else that it knows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from spandrel import MAIN_REGISTRY, Architecture, ModelDescriptor
from torch import Tensor, nn
from typing_extensions import override

from . import compact, dat, grl, rrdb
from .facts import Facts
from .model import UpscaleModel

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Network:
    """One of our networks: how to tell it from its weights, build it and run it in tiles."""

    id: str
    read_config: Callable[[Weights], Any]
    """The config that the weights look like, or None."""
    build: Callable[[Any], nn.Module]
    facts: Callable[[Any], Facts]
    tags: Callable[[Any], list[str]]
    """Short words about the size, as spandrel's descriptors carry them."""
    is_derived: Callable[[str], bool] = lambda _: False
    """Whether a name in a state dict is a buffer that follows from the config; such buffers are ignored."""


NETWORKS = (
    Network("GRL", grl.read_config, grl.GRL, grl.facts, grl.tags, grl.is_derived),
    Network("RRDB", rrdb.read_config, rrdb.RRDBNet, rrdb.facts, rrdb.tags),
    Network("DAT", dat.read_config, dat.DAT, dat.facts, dat.tags, dat.is_derived),
    Network("Compact", compact.read_config, compact.Compact, compact.facts, compact.tags),
)


class NetworkArchitecture(Architecture[nn.Module]):
    """A `Network` in the form that spandrel's descriptors carry."""

    def __init__(self, network: Network) -> None:
        super().__init__(id=f"APISR-{network.id}", name=network.id, detect=lambda sd: self.recognise(sd) is not None)
        self.network = network

    def recognise(self, weights: Weights) -> tuple[Any, nn.Module] | None:
        """The config and the still empty network, if its parameters have exactly the names and shapes of `weights`."""
        try:
            config = self.network.read_config(weights)
            if config is None:
                return None
            with torch.device("meta"):  # shapes only: nothing is allocated or initialised
                empty = self.network.build(config)
        except (ArithmeticError, LookupError, ValueError, TypeError, RuntimeError):
            return None  # shapes that no such network can have; other architectures may still know them
        return (config, empty) if _shapes(empty.state_dict()) == _shapes(self.own(weights)) else None

    def own(self, weights: Weights) -> dict[str, Tensor]:
        return {key: value for key, value in weights.items() if not self.network.is_derived(key)}

    @override
    def load(self, state_dict: dict[str, Any]) -> UpscaleModel:
        recognised = self.recognise(state_dict)
        if recognised is None:
            raise ValueError(f"These are not the weights of {self.name}.")
        return self.filled(*recognised, state_dict)

    def filled(self, config: Any, empty: nn.Module, weights: Weights) -> UpscaleModel:
        """The model with these weights, which `recognise` has seen; channels last in memory, on the CPU."""
        facts = self.network.facts(config)
        return UpscaleModel(
            empty.eval().requires_grad_(False),
            {key: _copy(value) for key, value in self.own(weights).items()},
            architecture=self,
            purpose="SR" if facts.scale > 1 else "Restoration",
            tags=self.network.tags(config),
            supports_half=True,
            supports_bfloat16=True,
            scale=facts.scale,
            input_channels=config.channels,
            output_channels=config.channels,
            facts=facts,
        )


def _copy(weight: Tensor) -> Tensor:
    """In fp32, kernels with the channels last; and never the original, which may be a part of the file on the disk."""
    layout = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
    dtype = torch.float32 if weight.is_floating_point() else weight.dtype
    return weight.to("cpu", dtype, copy=True, memory_format=layout)


def _shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    # BatchNorm's counter is not used in inference and some tools drop it
    return {key: tuple(value.shape) for key, value in weights.items() if not key.endswith("num_batches_tracked")}


def load_weights(weights: dict[str, Tensor]) -> ModelDescriptor:
    """Ours if the weights belong to one of our networks, else what spandrel makes of them.

    Raises:
        UnsupportedModelError: spandrel does not know them either.
    """
    for architecture in map(NetworkArchitecture, NETWORKS):
        recognised = architecture.recognise(weights)
        if recognised is not None:
            return architecture.filled(*recognised, weights)
    return MAIN_REGISTRY.load(weights)
