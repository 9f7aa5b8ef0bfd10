"""Exceptions whose text tells the user what to do."""

from ..apisr_archs import ApisrError


class UnreadableVideo(ApisrError):
    """The source is not a video that can be upscaled."""


class UnwritableVideo(ApisrError):
    """The result cannot be written as asked for."""


class NotEnoughDisk(ApisrError):
    """The disk is full, or will be before the result is complete."""
