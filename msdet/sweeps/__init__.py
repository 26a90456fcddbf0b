# SPDX-License-Identifier: Apache-2.0
"""Many runs from one command: grids, searches, and studies of methods over seeds."""
