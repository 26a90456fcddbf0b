# SPDX-License-Identifier: Apache-2.0
"""Measures of the recordings of one speaker, and their joining, for `build_voices.py`."""
