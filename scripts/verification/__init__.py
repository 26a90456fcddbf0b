# SPDX-License-Identifier: Apache-2.0
"""The measurements of `verify_simulation.py`, and its pictures."""
