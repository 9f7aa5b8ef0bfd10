"""A weight file -> a clean state dict: the known files, downloads, and safe reading.

zoo           the known weight files, as data
download      fetches a known file and verifies it
locate        a path or a known name -> the path of a file, for callers without ComfyUI
checkpoint    any file -> state dict, never running code from it
formats       recognizes files that are not weights, for the error message
pickles       finds out why torch refused a pickle, without running it
inert         lets torch skip harmless Python objects stored with the weights
names         removes the wrappers and prefixes that training code adds
"""
