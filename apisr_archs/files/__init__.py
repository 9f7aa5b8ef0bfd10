"""A weight file -> a clean state dict: the known files, downloads, and safe reading.

zoo           the known weight files, as data
download      a known file, verified, onto the disk
checkpoint    any file -> state dict, never running code from it
formats       what is no weight file, named
inert         harmless Python objects beside the weights
names         wrappers and prefixes of training code, taken off
"""
