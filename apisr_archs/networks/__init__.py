"""From a state dict to a network, recognized by keys and shapes only.

registry                    recognizes, builds and fills the networks below; `NETWORKS` lists them
compact, grl, rrdb          one network each
dat, dat_attention          DAT and its attention modules
parts                       code that several networks share
"""
