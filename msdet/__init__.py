# SPDX-License-Identifier: Apache-2.0
"""MSDET: multi-channel speaker separation and direction-of-arrival estimation, trained together."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msdet.errors import InputError
    from msdet.geometry import MicrophoneArray
    from msdet.inference.separation import Separation
    from msdet.inference.separator import Separator, load

__all__ = ["InputError", "MicrophoneArray", "Separation", "Separator", "__version__", "load"]
__version__ = version("msdet")

_HOMES = {
    "InputError": "msdet.errors",
    "MicrophoneArray": "msdet.geometry",
    "Separation": "msdet.inference.separation",
    "Separator": "msdet.inference.separator",
    "load": "msdet.inference.separator",
}


def __getattr__(name: str) -> Any:
    """Import on first use: ``msdet --help`` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'msdet' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
