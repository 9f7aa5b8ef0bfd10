"""The facts of the published models before their files are there: what an estimate needs to know about a network."""

from ..facts import Facts
from ..files.zoo import ZooModel
from . import compact, dat, grl, rrdb


def facts_of_published(model: ZooModel) -> Facts:
    """The facts that `load_model` would give to the file. (DAT-small: Chen et al. 2023, section 4.1.)"""
    if model.architecture == "RRDB":
        return rrdb.facts(rrdb.RRDBConfig(unshuffle=4 // model.scale))
    if model.architecture == "GRL":
        return grl.facts(grl.GRLConfig(scale=model.scale))
    if model.architecture == "DAT":
        return dat.facts(dat.DATConfig(depths=(6,) * 6, heads=(6,) * 6, scale=model.scale))
    return compact.facts(compact.CompactConfig(scale=model.scale))
