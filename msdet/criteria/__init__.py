# SPDX-License-Identifier: Apache-2.0
"""Criteria: assignment + losses + how the tasks are weighed."""

from msdet.criteria.criterion import Criterion, CriterionConfig, Losses

__all__ = ["Criterion", "CriterionConfig", "Losses"]
