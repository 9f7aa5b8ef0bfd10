"""From what training code saves to the names that the network's authors gave their weights.

A checkpoint may keep the weights under a key ("params_ema"), put a prefix before every name ("netG.module."), and keep
other networks, moving averages and counters beside them. Names are compared in lower case, without "state_dict".
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from torch import Tensor

StateDict = dict[str, Tensor]
Kind = Literal["average", "generator", "wrapper", "other", "unknown"]

GENERATORS = ("generator", "gen", "netg", "net_g", "network_g", "model_g", "g", "student")
"""What GAN training code calls the network that makes the picture: BasicSR, traiNNer, neosr, KAIR, mmagic."""
TRANSPARENT = ("module", "orig_mod", "forward_module")
"""Prefixes of DistributedDataParallel, torch.compile and Lightning, which no network has as its own first name."""
WRAPPERS = ("params", "", "model", "net", "network", "online_model", "weights", *TRANSPARENT)
"""What says nothing about the network, the better choice first. The empty one is "state_dict" itself."""
OTHERS = re.compile(
    r"^(net|network|model)?_?d\d*(_ema)?$|^ema_(net|network|model)?_?d\d*$|loss(es)?$"
    r"|(^|_)(discriminators?|disc?|critic|loss|criterion|cri|perceptual|percep|vgg\d*|lpips|dists|optimizers?|optim"
    r"|schedulers?|metrics?|psnr|ssim|scaler|preprocessor|teacher|feature_extractor)(_|\d|$)"
)
"""Names of what lies beside a network and is not it."""
COUNTERS = re.compile(r"n_averaged|num_updates|decay|steps?|global_step|step_counter|initted|epoch|iter(ation)?")
"""Whole names of the single numbers that training code keeps among the weights. No network of
spandrel's or ours has such a name."""
OWN = re.compile(r"\d+(\.|$)|model\.1\.bn_l\.|diffusion_model\.")
"""How the rest of a name begins if what looks like its prefix is a part of it: old ESRGAN and DnCNN
("model.0.weight"), LaMa ("generator.model.1.bn_l.weight"), Stable Diffusion ("model.diffusion_model.out.0.weight")."""
MAX_DEPTH = 8
"""Wrappers within wrappers; more than any training code writes."""


def unwrap(content: Any) -> StateDict:
    """The tensors of a state dict, wrapped by training code or not. Empty if there are none."""
    return _unwrap(content, MAX_DEPTH, set())


def strip_prefixes(weights: StateDict) -> StateDict:
    """Remove what training code put before the names, in any order and number, and its counters.

    Where several networks share the dict, only the generator's names stay, of its moving average if there is one.
    Where it is not certain which those are, all names stay as they were.
    """
    weights = _without_counters(weights)
    while (inner := _without_prefix(weights)) is not None:
        weights = _without_counters(inner)
    return weights


def groups(weights: Mapping[str, Tensor]) -> dict[str, StateDict]:
    """The weights by the first part of their names, under the rest of them. What has no dot in its name is left out."""
    found: dict[str, StateDict] = {}
    for key, value in weights.items():
        head, dot, name = key.partition(".")
        if dot:
            found.setdefault(head, {})[name] = value
    return found


def lies_beside(key: str) -> bool:
    """Whether a name is one of what training code keeps beside a network: losses, discriminators, counters."""
    return _kind(key.partition(".")[0]) == "other" or bool(COUNTERS.fullmatch(key))


def _without_counters(weights: StateDict) -> StateDict:
    return {key: value for key, value in weights.items() if value.numel() > 1 or not COUNTERS.fullmatch(key)}


def _unwrap(content: Any, depth: int, seen: set[int]) -> StateDict:
    """`seen` has the ids of mappings that were tried: files may contain themselves."""
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
    """Keys under which the network is usually kept, the better choice first."""
    keys = [(key, _plain(key)) for key in content if isinstance(key, str)]
    yield from (key for key, _ in keys if _kind(key) == "average")
    for name in (*GENERATORS, *WRAPPERS):
        yield from (key for key, plain in keys if plain == name)


def _has_weights(weights: StateDict) -> bool:
    """Whether these are more than single numbers, such as the counters of a moving average."""
    return any(value.ndim for value in weights.values())


def _without_prefix(weights: StateDict) -> StateDict | None:
    """The weights without one prefix, and without what lies beside the network. None if no prefix is certain."""
    if not all("." in key for key in weights):
        return None
    below = groups(weights)
    kinds = {head: _kind(head) for head in below}
    for head, kind in kinds.items():
        # names of latent-diffusion's averages have lost their dots: no network knows them
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
    """Whether `head`, which comes before each of `names`, is a part of the network's own names."""
    return _plain(head) not in TRANSPARENT and any(OWN.match(name) for name in names)


def _plain(key: str) -> str:
    """A key as it is compared."""
    return key.lower().replace("-", "_").replace("state_dict", "").strip("_")


def _kind(key: str) -> Kind:
    plain = _plain(key)
    if plain in WRAPPERS:
        return "wrapper"
    if plain in GENERATORS:
        return "generator"
    base = plain.removeprefix("ema").removesuffix("ema").strip("_")
    if base != plain and (base in GENERATORS or base in WRAPPERS):
        return "average"
    return "other" if OTHERS.search(plain) else "unknown"
