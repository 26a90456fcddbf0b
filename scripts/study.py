# SPDX-License-Identifier: Apache-2.0
"""Methods compared: ``python scripts/study.py main``; see docs/study.md and ``configs/study/``."""

import sys

from msdet.study.command import main

if __name__ == "__main__":
    sys.exit(main())
