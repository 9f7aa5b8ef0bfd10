"""Restores the names that the network's authors gave their weights from those that training code saves.

A checkpoint may store the weights under a key ("params_ema"), prefix every name ("netG.module."), and also store other
networks, moving averages and counters. Names are compared in lower case, without "state_dict".
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from torch import Tensor

StateDict = dict[str, Tensor]
Kind = Literal["average", "generator", "wrapper", "other", "unknown"]

GENERATORS = ("generator", "gen", "netg", "net_g", "network_g", "model_g", "g", "student")
"""Names for the generator in GAN training code: BasicSR, traiNNer, neosr, KAIR, mmagic."""
TRANSPARENT = ("module", "orig_mod", "forward_module")
"""Prefixes added by DistributedDataParallel, torch.compile and Lightning. No network has a layer of such a name."""
WRAPPERS = ("params", "", "model", "net", "network", "online_model", "weights", *TRANSPARENT)
"""Names that say nothing about the network, in order of preference. The empty one is "state_dict" itself."""
OTHERS = re.compile(
    r"^(net|network|model)?_?d\d*(_ema)?$|^ema_(net|network|model)?_?d\d*$|loss(es)?$"
    r"|(^|_)(discriminators?|disc?|critic|loss|criterion|cri|perceptual|percep|vgg\d*|lpips|dists|optimizers?|optim"
    r"|schedulers?|metrics?|psnr|ssim|scaler|preprocessor|teacher|feature_extractor)(_|\d|$)"
)
"""Names of things that checkpoints store with the network but that are not part of it."""
COUNTERS = re.compile(r"n_averaged|num_updates|decay|steps?|global_step|step_counter|initted|epoch|iter(ation)?")
"""Full names of the scalars that training code stores among the weights. No network here or in spandrel has a
parameter of such a name."""
OWN = re.compile(r"\d+(\.|$)|model\.1\.bn_l\.|diffusion_model\.")
"""Matches the rest of a name if what looks like a prefix belongs to the network: old ESRGAN and DnCNN
("model.0.weight"), LaMa ("generator.model.1.bn_l.weight"), Stable Diffusion ("model.diffusion_model.out.0.weight")."""
MAX_DEPTH = 8
"""Maximum nesting of wrappers; more than any training code writes."""


def unwrap(content: Any) -> StateDict:
    """The state dict in a checkpoint, whether wrapped by training code or bare. Empty if there is none."""
    return _unwrap(content, MAX_DEPTH, set())


def strip_prefixes(weights: StateDict) -> StateDict:
    """Remove the prefixes of training code, in any order and number, and its counters.

    If the dict holds several networks, only the generator is kept, or its moving average if there is one. If it is
    not certain which network that is, all names are kept unchanged.
    """
    weights = _without_counters(weights)
    while (inner := _without_prefix(weights)) is not None:
        weights = _without_counters(inner)
    return weights


def groups(weights: Mapping[str, Tensor]) -> dict[str, StateDict]:
    """Group the weights by the first part of their names; inner keys are the rest. Names without a dot are left out."""
    found: dict[str, StateDict] = {}
    for key, value in weights.items():
        head, dot, name = key.partition(".")
        if dot:
            found.setdefault(head, {})[name] = value
    return found


def lies_beside(key: str) -> bool:
    """Whether training code stores a tensor of this name beside the network: a loss, a discriminator, a counter."""
    return _kind(key.partition(".")[0]) == "other" or bool(COUNTERS.fullmatch(key))


def _without_counters(weights: StateDict) -> StateDict:
    return {key: value for key, value in weights.items() if value.numel() > 1 or not COUNTERS.fullmatch(key)}


def _unwrap(content: Any, depth: int, seen: set[int]) -> StateDict:
    """`seen` holds the ids of the mappings already tried, because a file's mappings may contain themselves."""
    if not isinstance(content, Mapping) or id(content) in seen or not depth:
        return {}
    seen.add(id(content))
    for key in _known_keys(content):
        inner = _unwrap(content[key], depth - 1, seen)
        if _has_weights(inner):
            return inner
    own = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if _has_weights(own):
        return own
    found = {key: _unwrap(value, depth - 1, seen) for key, value in content.items() if isinstance(key, str)}
    found = {key: inner for key, inner in found.items() if _has_weights(inner)}
    if len(found) > 1:
        found = {key: inner for key, inner in found.items() if _kind(key) != "other"}
    return next(iter(found.values())) if len(found) == 1 else own


def _known_keys(content: Mapping[Any, Any]) -> Iterator[Any]:
    """The keys that usually hold the network, in order of preference."""
    keys = [(key, _normalized(key)) for key in content if isinstance(key, str)]
    yield from (key for key, _ in keys if _kind(key) == "average")
    for name in (*GENERATORS, *WRAPPERS):
        yield from (key for key, plain in keys if plain == name)


def _has_weights(weights: StateDict) -> bool:
    """Whether there is more than scalars, such as the counters of a moving average."""
    return any(value.ndim for value in weights.values())


def _without_prefix(weights: StateDict) -> StateDict | None:
    """The weights without one prefix, and without anything beside the network. None if no prefix is certain."""
    if not all("." in key for key in weights):
        return None
    below = groups(weights)
    kinds = {head: _kind(head) for head in below}
    for head, kind in kinds.items():
        # latent-diffusion strips the dots from the names of its averages: they match no network
        if kind == "average" and not any("." in name for name in below[head]):
            kinds[head] = "other"
    if "unknown" in kinds.values():
        return None
    for kind in ("average", "generator", "wrapper"):
        chosen = [head for head in below if kinds[head] == kind]
        if chosen:
            beside = {kinds[head] for head in below if head != chosen[0]}
            certain = len(chosen) == 1 and (kind == "average" or beside <= {"other"})
            return below[chosen[0]] if certain and not _is_own(chosen[0], below[chosen[0]]) else None
    return None


def _is_own(head: str, names: Iterable[str]) -> bool:
    """Whether `head`, which precedes each of `names`, belongs to the network's own names."""
    return _normalized(head) not in TRANSPARENT and any(OWN.match(name) for name in names)


def _normalized(key: str) -> str:
    """A key, normalized for comparison."""
    return key.lower().replace("-", "_").replace("state_dict", "").strip("_")


def _kind(key: str) -> Kind:
    plain = _normalized(key)
    if plain in WRAPPERS:
        return "wrapper"
    if plain in GENERATORS:
        return "generator"
    base = plain.removeprefix("ema").removesuffix("ema").strip("_")
    if base != plain and (base in GENERATORS or base in WRAPPERS):
        return "average"
    return "other" if OTHERS.search(plain) else "unknown"
