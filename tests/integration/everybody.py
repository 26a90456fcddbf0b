# SPDX-License-Identifier: Apache-2.0
"""``msdet``, for networks of random weights: all that they put out counts as a speaker.

What is set here is set in the processes that it starts too, which import this file again.
"""

from __future__ import annotations

import sys

import msdet.inference.window_network as window_network
from msdet.cli import main

window_network.PRESENT = 0.0

if __name__ == "__main__":
    sys.exit(main())
