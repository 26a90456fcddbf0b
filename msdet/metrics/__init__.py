# SPDX-License-Identifier: Apache-2.0
"""Measures of estimates against the truth: metrics, matching, one table of scores, statistics.

Knows arrays alone: nothing of scenes as they are drawn, of networks, or of training.
"""

from msdet.metrics.measures import MEASURES, Measure
from msdet.metrics.metric import Metric, SceneTruth
from msdet.metrics.scene import score, score_scene
from msdet.metrics.scores import Claims, SceneRow, SceneScore
from msdet.metrics.summary import compare_systems, summarise
from msdet.metrics.table import score_table

__all__ = [
    "MEASURES",
    "Claims",
    "Measure",
    "Metric",
    "SceneRow",
    "SceneScore",
    "SceneTruth",
    "compare_systems",
    "score",
    "score_scene",
    "score_table",
    "summarise",
]
