# SPDX-License-Identifier: Apache-2.0
"""Criteria: assignment + losses + how the tasks are weighed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msdet.criteria.criterion import Criterion, CriterionConfig, Losses

__all__ = ["Criterion", "CriterionConfig", "Losses"]


def __getattr__(name: str) -> Any:
    """Import on first use: who only reads checkpoints does not wait for what training needs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from msdet.criteria import criterion

    return getattr(criterion, name)
