# SPDX-License-Identifier: Apache-2.0
"""Checkpoint to report: ``python scripts/evaluate.py checkpoint=PATH output=DIR``.

The same as ``msdet evaluate``; its ``--config`` prints every key.
"""

import sys

from msdet.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
