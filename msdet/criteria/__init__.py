# SPDX-License-Identifier: Apache-2.0
"""Criteria: assignment + losses + how the tasks are weighed."""

from msdet.criteria.criterion import Criterion, CriterionConfig, Losses
from msdet.criteria.labels import Labels, Predictions

__all__ = ["Criterion", "CriterionConfig", "Labels", "Losses", "Predictions"]
