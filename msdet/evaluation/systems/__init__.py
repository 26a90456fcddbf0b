# SPDX-License-Identifier: Apache-2.0
"""What is scored: everything that makes audio, directions or both of a rendered scene."""
