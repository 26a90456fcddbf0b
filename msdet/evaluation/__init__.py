# SPDX-License-Identifier: Apache-2.0
"""Evaluations: systems, the scoring of scenes, rows on disk, tables, the report."""
