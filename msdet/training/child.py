# SPDX-License-Identifier: Apache-2.0
"""``python -m msdet.training.child train ...``: a command that ends with the process that began it.

Its standard input is a pipe that the study holds open and never writes to. Killed in any way, the
study lets go of it, and what it began stops, so that the same study can go on at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    # Begun in the background of a script, it would inherit that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from msdet.cli import main

    sys.exit(main())
