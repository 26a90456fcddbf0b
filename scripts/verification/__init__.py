# SPDX-License-Identifier: Apache-2.0
"""What `verify_simulation.py` measures, and its pictures."""
