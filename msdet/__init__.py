# SPDX-License-Identifier: Apache-2.0
"""MSDET: multi-channel speaker separation and direction-of-arrival estimation, trained together."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from msdet.lazily import lazily

if TYPE_CHECKING:
    from msdet.errors import InputError
    from msdet.geometry import MicrophoneArray
    from msdet.inference.separation import Separation
    from msdet.inference.separator import Separator, load

__all__ = ["InputError", "MicrophoneArray", "Separation", "Separator", "__version__", "load"]
__version__ = version("msdet")

__getattr__ = lazily(
    __name__,
    {
        "InputError": "errors",
        "MicrophoneArray": "geometry",
        "Separation": "inference.separation",
        "Separator": "inference.separator",
        "load": "inference.separator",
    },
)
