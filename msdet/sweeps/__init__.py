# SPDX-License-Identifier: Apache-2.0
"""``msdet train --multirun``: many runs from one command, as a grid or as a search."""
