"""A state dict -> a network, by keys and shapes only.

registry                    recognises, builds and fills the networks below; `NETWORKS` is the list of them
compact, grl, rrdb          a network each
dat, dat_attention          DAT and its attention
parts                       what they share
"""
