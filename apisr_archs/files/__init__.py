"""A weight file -> a clean state dict: the known files, downloads, and safe reading.

zoo           the known weight files, as data
download      a known file, verified, onto the disk
locate        a path or a known name -> the path of a file, for callers without ComfyUI
checkpoint    any file -> state dict, never running code from it
formats       what is no weight file, named
inert         harmless Python objects beside the weights
names         wrappers and prefixes of training code, taken off
"""
