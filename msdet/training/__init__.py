# SPDX-License-Identifier: Apache-2.0
"""Training runs: what is checked before, the Lightning module, what happens around its steps."""
