# SPDX-License-Identifier: Apache-2.0
"""Criteria: assignment + losses + how the tasks are weighed."""

from typing import TYPE_CHECKING

from msdet.lazily import lazily

if TYPE_CHECKING:
    from msdet.criteria.config import CriterionConfig
    from msdet.criteria.criterion import Criterion, Losses
    from msdet.criteria.labels import Labels, Predictions

__all__ = ["Criterion", "CriterionConfig", "Labels", "Losses", "Predictions"]
__getattr__ = lazily(
    __name__,
    {
        "Criterion": "criterion",
        "CriterionConfig": "config",
        "Labels": "labels",
        "Losses": "criterion",
        "Predictions": "labels",
    },
)
