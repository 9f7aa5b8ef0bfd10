"""Recognizes the network in a state dict by keys and shapes only, never by the file's name, and builds the model.

Our own networks are tried first; spandrel loads every other architecture that it supports.
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
"""Maximum number of names listed in an error or a log line."""


@dataclass(frozen=True)
class Network:
    """One of our networks: how to recognize its weights, build it and run it in tiles."""

    id: str
    spandrel_id: str
    """The id under which spandrel detects these weights, even if wrongly; "" if it does not."""
    read_config: Callable[[Weights], Any]
    """Returns the config that the weights look like, or None."""
    build: Callable[[Any], nn.Module]
    facts: Callable[[Any], Facts]
    tags: Callable[[Any], list[str]]
    """Returns short tags for the size, as in spandrel's descriptors."""
    is_derived: Callable[[str], bool] = lambda _: False
    """Whether a name in a state dict is a buffer computed from the config; such buffers are ignored."""
    official_names: Callable[[Weights], Weights] = lambda weights: weights
    """Translates names from older files to those used here. Keeps the order of the weights."""
    old_parts: tuple[str, ...] = ()
    """First parts of the names in older files."""


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
    """One of our networks that a file's weights look like, and how they differ from what it needs."""

    network: Network
    config: Any
    empty: nn.Module
    """The network without weights, on the device "meta"."""
    weights: Weights
    """The file's weights that belong to the network, under the network's names."""
    missing: Collection[str]
    """Names that are missing from the file."""
    reshaped: Collection[str]
    """Names that have another shape in the file."""
    unexpected: Collection[str]
    """Names in the file that belong to parts of the network but that it does not have: the file is a variant of it."""
    beside: Collection[str]
    """Names in the file outside the network's parts: counters, losses, another network."""

    @property
    def is_whole(self) -> bool:
        """Whether the file holds exactly the network's weights. Names outside the network are ignored."""
        return not (self.missing or self.reshaped or self.unexpected)

    def differences(self) -> str:
        """A description of why the match is not whole."""
        kinds = (("lacks", self.missing), ("also has", self.unexpected), ("has other shapes of", self.reshaped))
        return " and ".join(f"{what} {some_of(names)}" for what, names in kinds if names)


def matches(weights: Weights) -> Iterator[Match]:
    """Yield our networks that the weights look like. Reads only names and shapes, and for DAT the window sizes.

    Raises:
        UnsupportedWeights: the window sizes are invalid.
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
            continue  # impossible shapes for this network; another architecture may accept them
        in_file = dict(zip(named, weights, strict=True))
        relevant = {key: value for key, value in named.items() if not network.is_derived(key)}
        yield _compare(network, config, empty, relevant, in_file)


def _compare(network: Network, config: Any, empty: nn.Module, weights: Weights, in_file: Mapping[str, str]) -> Match:
    """Compare the weights with what the network needs. `in_file` maps our names to those in the file."""
    needed, present = _shapes(empty.state_dict()), _shapes(weights)
    # numbers are ignored, so that an extra layer of the same kind (conv_up3, conv_body2) counts as unexpected
    parts = {_unnumbered(name) for name, _ in empty.named_children()}.union(network.old_parts)
    extra = [key for key in present if key not in needed]
    return Match(
        network,
        config,
        empty,
        weights={key: value for key, value in weights.items() if key not in extra},
        missing=[key for key in needed if key not in present],
        reshaped=[in_file[key] for key in needed if key in present and needed[key] != present[key]],
        unexpected=[in_file[key] for key in extra if _unnumbered(key.split(".")[0]) in parts],
        beside=[in_file[key] for key in extra if _unnumbered(key.split(".")[0]) not in parts],
    )


def _unnumbered(part: str) -> str:
    return part.rstrip("_0123456789")


def _shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    # BatchNorm's counter is not used in inference and some tools drop it
    return {key: tuple(value.shape) for key, value in weights.items() if not key.endswith("num_batches_tracked")}


def some_of(names: Collection[str]) -> str:
    """The first few names, and the number of the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(shown, list(names)[:SHOWN])) + more


class NetworkArchitecture(Architecture[nn.Module]):
    """A `Network` as the architecture object that spandrel's descriptors refer to."""

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
    """Build the model of a whole match and fill in its weights. On the CPU, in channels-last memory format."""
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
    """A copy in fp32, kernels in channels-last format. The original may be memory-mapped, so it is never reused."""
    layout = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
    dtype = torch.float32 if weight.is_floating_point() else weight.dtype
    return weight.to("cpu", dtype, copy=True, memory_format=layout)


def find_own(weights: Weights) -> Match | None:
    """Find the network of ours whose weights are all present, or None.

    Other weights in the file are ignored, unless spandrel recognizes all of the weights as another architecture.
    """
    match = next((match for match in matches(weights) if match.is_whole), None)
    if match and match.beside:
        if known_to_spandrel(weights) not in (None, match.network.spandrel_id):
            return None
        log.warning("%s: ignored names that are not part of the network: %s", match.network.id, some_of(match.beside))
    return match


def known_to_spandrel(weights: Weights) -> str | None:
    """Id of the architecture that spandrel detects by the weights' names, or None."""
    ordered = MAIN_REGISTRY.architectures("detection")
    return next((entry.architecture.id for entry in ordered if entry.detect(dict(weights))), None)


def find_behind_prefix(weights: Weights) -> Weights:
    """Find the one known network in the file behind an unknown prefix, and remove the prefix.

    Returns the weights unchanged if there is no such network. A network of ours must be whole; all other weights are
    ignored. For a network of spandrel's, only what training code stores with networks (losses, counters) is dropped.

    Raises:
        UnsupportedWeights: there is more than one such network.
    """
    for prefix, level in levels(weights):
        whole = [head for head, inner in groups(level).items() if any(match.is_whole for match in matches(inner))]
        if len(whole) > 1:
            raise UnsupportedWeights(
                f"holds {len(whole)} networks ({some_of([prefix + head for head in whole])}), and nothing tells which "
                "one is meant. Save one of them alone, or choose another file."
            )
        if whole:
            return _without_prefix(weights, f"{prefix}{whole[0]}.")
    for prefix, level in levels(weights):
        rest = [key for key in weights if not key.startswith(prefix)]
        if all(map(lies_beside, rest)) and known_to_spandrel(level):
            return _without_prefix(weights, prefix)
    return weights


def _without_prefix(weights: Weights, prefix: str) -> Weights:
    rest = [key for key in weights if not key.startswith(prefix)]
    if rest:
        log.warning("Took %s from the file; ignored the rest: %s", shown(prefix), some_of(rest))
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def levels(weights: Weights) -> Iterator[tuple[str, Weights]]:
    """Yield ("", weights), then repeatedly the weights below the first name part that most share, with its prefix."""
    prefix = ""
    for _ in range(MAX_DEPTH):
        yield prefix, weights
        below = groups(weights)
        head = max(below, key=lambda name: len(below[name]), default=None)
        if head is None or 2 * len(below[head]) <= len(weights):
            return
        prefix, weights = f"{prefix}{head}.", below[head]


def load_weights(weights: dict[str, Tensor]) -> ModelDescriptor:
    """Load the weights as one of our networks, otherwise through spandrel.

    Raises:
        UnsupportedModelError: spandrel does not recognize them either.
    """
    match = find_own(weights)
    return filled(match) if match else MAIN_REGISTRY.load(weights)
