"""torch's layers for networks whose weights always come from a file: nothing is initialised, nothing copied twice.

Building DAT's 900 modules with torch's own layers takes four times as long; the random numbers are thrown away.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn
from typing_extensions import override


class _Unfilled:
    """For a torch layer to inherit from first."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are."""


class Conv2d(_Unfilled, nn.Conv2d):
    pass


class Linear(_Unfilled, nn.Linear):
    pass


class LayerNorm(_Unfilled, nn.LayerNorm):
    pass


class BatchNorm2d(_Unfilled, nn.BatchNorm2d):
    pass


class FilledNetwork(nn.Module):
    """A whole network. Built on the device "meta" it has no storage, and takes over that of the weights it loads."""

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        is_empty = next(self.parameters()).is_meta  # a copy into it would do nothing
        return super().load_state_dict(state_dict, strict, assign or is_empty)
