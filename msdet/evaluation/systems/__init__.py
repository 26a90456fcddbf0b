# SPDX-License-Identifier: Apache-2.0
"""The systems that are scored: all that make audio, directions or both of a scene."""
