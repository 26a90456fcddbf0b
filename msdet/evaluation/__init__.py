# SPDX-License-Identifier: Apache-2.0
"""How good a model is: scores per scene, rows on disk, summaries with intervals, pictures."""
