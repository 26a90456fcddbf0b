# SPDX-License-Identifier: Apache-2.0
"""Where the files are that travel with the package: configs, voices, benchmarks, models."""

from __future__ import annotations

from pathlib import Path

_INSTALLED = Path(__file__).resolve().parent / "bundled"
_CHECKOUT = Path(__file__).resolve().parents[1]


def configs_dir() -> Path:
    """Hydra configs: inside the package when installed, beside it in a checkout."""
    return _INSTALLED / "configs" if _INSTALLED.is_dir() else _CHECKOUT / "configs"


def voices_dir() -> Path:
    """Bundled voices: inside the package when installed, beside it in a checkout."""
    return _INSTALLED / "voices" if _INSTALLED.is_dir() else _CHECKOUT / "data" / "voices"


def benchmarks_dir() -> Path:
    """Benchmarks' scenes: inside the package when installed, beside it in a checkout."""
    return _INSTALLED / "benchmarks" if _INSTALLED.is_dir() else _CHECKOUT / "data" / "benchmarks"


def models_dir() -> Path:
    """Trained models: inside the package when installed, beside it in a checkout."""
    return _INSTALLED / "models" if _INSTALLED.is_dir() else _CHECKOUT / "data" / "models"
