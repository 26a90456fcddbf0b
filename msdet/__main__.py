# SPDX-License-Identifier: Apache-2.0
"""``python -m msdet``: the same as the command ``msdet``."""

import sys

from msdet.cli import main

if __name__ == "__main__":
    sys.exit(main())
