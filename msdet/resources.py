# SPDX-License-Identifier: Apache-2.0
"""Folders of the files that travel with the package: configs, voices, benchmarks, models."""

from __future__ import annotations

from pathlib import Path

_INSTALLED = Path(__file__).resolve().parent / "bundled"
_CHECKOUT = Path(__file__).resolve().parents[1]


def configs_dir() -> Path:
    """Return the folder of Hydra configs: in an installed package, or beside that of a checkout."""
    return _INSTALLED / "configs" if _INSTALLED.is_dir() else _CHECKOUT / "configs"


def voices_dir() -> Path:
    """Return the folder of the bundled voices; see `configs_dir`."""
    return _INSTALLED / "voices" if _INSTALLED.is_dir() else _CHECKOUT / "data" / "voices"


def benchmarks_dir() -> Path:
    """Return the folder of the benchmarks' scenes; see `configs_dir`."""
    return _INSTALLED / "benchmarks" if _INSTALLED.is_dir() else _CHECKOUT / "data" / "benchmarks"


def models_dir() -> Path:
    """Return the folder of the trained models; see `configs_dir`."""
    return _INSTALLED / "models" if _INSTALLED.is_dir() else _CHECKOUT / "data" / "models"
