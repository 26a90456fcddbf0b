# SPDX-License-Identifier: Apache-2.0
"""Trained models at work on recordings."""
