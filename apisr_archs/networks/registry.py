"""From a state dict to a model, by keys and shapes only; the file's name plays no part.

Our networks come first; spandrel loads everything else that it knows.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from spandrel import MAIN_REGISTRY, Architecture, ModelDescriptor
from torch import Tensor, nn
from typing_extensions import override

from ..errors import UnsupportedWeights
from ..facts import Facts
from ..files.names import MAX_DEPTH, groups, lies_beside
from ..model import UpscaleModel
from ..text import get_logger, shown
from . import compact, dat, grl, rrdb

log = get_logger(__name__)

Weights = Mapping[str, Tensor]

SHOWN = 3
"""How many names of a list an error or a log line shows."""


@dataclass(frozen=True)
class Network:
    """One of our networks: how to tell it from its weights, build it and run it in tiles."""

    id: str
    spandrel_id: str
    """The id under which spandrel detects these weights, even if wrongly; "" if it does not."""
    read_config: Callable[[Weights], Any]
    """The config that the weights look like, or None."""
    build: Callable[[Any], nn.Module]
    facts: Callable[[Any], Facts]
    tags: Callable[[Any], list[str]]
    """Short words about the size, as spandrel's descriptors carry them."""
    is_derived: Callable[[str], bool] = lambda _: False
    """Whether a name in a state dict is a buffer that follows from the config; such buffers are ignored."""
    official_names: Callable[[Weights], Weights] = lambda weights: weights
    """The weights, in their order, under the names that the network has here, if they have older ones."""
    old_parts: tuple[str, ...] = ()
    """How older names of its weights begin."""


NETWORKS = (
    Network("GRL", "GRL", grl.read_config, grl.GRL, grl.facts, grl.tags, grl.is_derived),
    Network(
        "RRDB",
        "ESRGAN",
        rrdb.read_config,
        rrdb.RRDBNet,
        rrdb.facts,
        rrdb.tags,
        official_names=rrdb.official_names,
        old_parts=rrdb.OLD_PARTS,
    ),
    Network("DAT", "DAT", dat.read_config, dat.DAT, dat.facts, dat.tags, dat.is_derived),
    Network("Compact", "Compact", compact.read_config, compact.Compact, compact.facts, compact.tags),
)


@dataclass(frozen=True)
class Match:
    """One of our networks that the weights of a file look like, and how they differ from what it needs."""

    network: Network
    config: Any
    empty: nn.Module
    """Without storage, on the device "meta"."""
    weights: Weights
    """Those in the file that the network has, under its names."""
    missing: Collection[str]
    """Names that the file lacks."""
    reshaped: Collection[str]
    """Names that have another shape in the file."""
    unexpected: Collection[str]
    """Names in the file that lie inside parts of the network, but which it does not have: it is a variant of it."""
    beside: Collection[str]
    """Names in the file outside of the network's parts: counters, losses, another network."""

    @property
    def is_whole(self) -> bool:
        """Whether the network's own weights are all there, and are all that there is of it."""
        return not (self.missing or self.reshaped or self.unexpected)

    def differences(self) -> str:
        """What keeps the file from being whole, in words."""
        kinds = (("lacks", self.missing), ("also has", self.unexpected), ("has other shapes of", self.reshaped))
        return " and ".join(f"{what} {some_of(names)}" for what, names in kinds if names)


def matches(weights: Weights) -> Iterator[Match]:
    """Our networks that the weights look like. Reads names and shapes, and of DAT the size of its windows.

    Raises:
        UnsupportedWeights: such windows cannot be.
    """
    for network in NETWORKS:
        named = network.official_names(weights)
        try:
            config = network.read_config(named)
            if config is None:
                continue
            with torch.device("meta"):  # shapes only: nothing is allocated or initialised
                empty = network.build(config)
        except (ArithmeticError, LookupError, ValueError, TypeError, RuntimeError):
            continue  # shapes that no such network can have; other architectures may still know them
        in_file = dict(zip(named, weights, strict=True))
        relevant = {key: value for key, value in named.items() if not network.is_derived(key)}
        yield _compared(network, config, empty, relevant, in_file)


def _compared(network: Network, config: Any, empty: nn.Module, weights: Weights, in_file: Mapping[str, str]) -> Match:
    """in_file: the names in the file by those that the network has here."""
    needed, there = _shapes(empty.state_dict()), _shapes(weights)
    # a number more is one more part of the same kind, which the network does not have: conv_up3, conv_body2
    parts = {_unnumbered(name) for name, _ in empty.named_children()}.union(network.old_parts)
    extra = [key for key in there if key not in needed]
    return Match(
        network,
        config,
        empty,
        weights={key: value for key, value in weights.items() if key not in extra},
        missing=[key for key in needed if key not in there],
        reshaped=[in_file[key] for key in needed if key in there and needed[key] != there[key]],
        unexpected=[in_file[key] for key in extra if _unnumbered(key.split(".")[0]) in parts],
        beside=[in_file[key] for key in extra if _unnumbered(key.split(".")[0]) not in parts],
    )


def _unnumbered(part: str) -> str:
    return part.rstrip("_0123456789")


def _shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    # BatchNorm's counter is not used in inference and some tools drop it
    return {key: tuple(value.shape) for key, value in weights.items() if not key.endswith("num_batches_tracked")}


def some_of(names: Collection[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(shown, list(names)[:SHOWN])) + more


class NetworkArchitecture(Architecture[nn.Module]):
    """A `Network` in the form that spandrel's descriptors carry."""

    def __init__(self, network: Network) -> None:
        super().__init__(id=f"APISR-{network.id}", name=network.id, detect=lambda sd: self._match(sd) is not None)
        self.network = network

    def _match(self, weights: Weights) -> Match | None:
        return next((m for m in matches(weights) if m.network == self.network and m.is_whole), None)

    @override
    def load(self, state_dict: dict[str, Any]) -> UpscaleModel:
        match = self._match(state_dict)
        if match is None:
            raise ValueError(f"These are not the weights of {self.name}.")
        return filled(match)


def filled(match: Match) -> UpscaleModel:
    """The model with the weights of a whole match; channels last in memory, on the CPU."""
    network, config = match.network, match.config
    facts = network.facts(config)
    return UpscaleModel(
        match.empty.eval().requires_grad_(False),
        {key: _copy(value) for key, value in match.weights.items()},
        architecture=NetworkArchitecture(network),
        purpose="SR" if facts.scale > 1 else "Restoration",
        tags=network.tags(config),
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


def find_own(weights: Weights) -> Match | None:
    """The network of ours that the weights are whole weights of, or None.

    What lies beside them is ignored, unless spandrel knows an architecture that is made of all of it.
    """
    match = next((match for match in matches(weights) if match.is_whole), None)
    if match and match.beside:
        if known_to_spandrel(weights) not in (None, match.network.spandrel_id):
            return None
        log.warning("%s: ignored what is no part of the network: %s", match.network.id, some_of(match.beside))
    return match


def known_to_spandrel(weights: Weights) -> str | None:
    """The id of the architecture that spandrel takes the weights for, by some of their names; None if there is none."""
    ordered = MAIN_REGISTRY.architectures("detection")
    return next((entry.architecture.id for entry in ordered if entry.detect(dict(weights))), None)


def find_behind_prefix(weights: Weights) -> Weights:
    """The one network in the file that is known, under its own names, if all of them have a prefix that is not.

    The weights as they are if there is none. A network of ours has to be whole, and what lies beside it is ignored;
    of one that is spandrel's nothing is left out but what training code keeps beside networks.

    Raises:
        UnsupportedWeights: there are several.
    """
    for prefix, level in levels(weights):
        whole = [head for head, inner in groups(level).items() if any(match.is_whole for match in matches(inner))]
        if len(whole) > 1:
            raise UnsupportedWeights(
                f"holds {len(whole)} networks ({some_of([prefix + head for head in whole])}), and nothing tells which "
                "one is meant. Save one of them alone, or choose another file."
            )
        if whole:
            return _taken(weights, f"{prefix}{whole[0]}.")
    for prefix, level in levels(weights):
        rest = [key for key in weights if not key.startswith(prefix)]
        if all(map(lies_beside, rest)) and known_to_spandrel(level):
            return _taken(weights, prefix)
    return weights


def _taken(weights: Weights, prefix: str) -> Weights:
    rest = [key for key in weights if not key.startswith(prefix)]
    if rest:
        log.warning("Took %s from the file; ignored the rest: %s", shown(prefix), some_of(rest))
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def levels(weights: Weights) -> Iterator[tuple[str, Weights]]:
    """The weights; then, with their prefix, those of them that share the first part of most names, and so on."""
    prefix = ""
    for _ in range(MAX_DEPTH):
        yield prefix, weights
        below = groups(weights)
        head = max(below, key=lambda name: len(below[name]), default=None)
        if head is None or 2 * len(below[head]) <= len(weights):
            return
        prefix, weights = f"{prefix}{head}.", below[head]


def load_weights(weights: dict[str, Tensor]) -> ModelDescriptor:
    """Ours if the weights belong to one of our networks, else what spandrel makes of them.

    Raises:
        UnsupportedModelError: spandrel does not know them either.
    """
    match = find_own(weights)
    return filled(match) if match else MAIN_REGISTRY.load(weights)
