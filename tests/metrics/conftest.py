# SPDX-License-Identifier: Apache-2.0
"""Scenes and rows to score."""

from tests.scored import make_row, real_speech, speech

__all__ = ["make_row", "real_speech", "speech"]
