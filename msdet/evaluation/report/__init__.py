# SPDX-License-Identifier: Apache-2.0
"""One HTML page that shows an evaluation: numbers, pictures and sound in a single file."""

from msdet.evaluation.report.content import Directions, ReportContent, SceneView
from msdet.evaluation.report.page import write_report

__all__ = ["Directions", "ReportContent", "SceneView", "write_report"]
