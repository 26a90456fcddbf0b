# SPDX-License-Identifier: Apache-2.0
"""Studies: methods times seeds under one budget, scored on the same scenes, on one page."""
