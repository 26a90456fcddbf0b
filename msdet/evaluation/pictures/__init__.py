# SPDX-License-Identifier: Apache-2.0
"""Figures of a training and of an evaluation, as PNG files."""
