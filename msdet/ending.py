# SPDX-License-Identifier: Apache-2.0
"""The end of a command, by itself, by a mistake or told to stop: its last lines and exit code."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from msdet.errors import InputError

_OF_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


class Terminated(KeyboardInterrupt):
    """SIGTERM, by which schedulers, containers and service managers stop a command."""


def ending(name: str, command: Callable[[], int], goes_on: bool = True, debug: bool = False) -> int:
    """Run a command; return its exit code.

    Ctrl-C and SIGTERM stop it in the same way: with one line, and a code that is not 0.

    Args:
        name: of the command, which starts the line about a mistake.
        command: returns the code of an end without a mistake.
        goes_on: the same command goes on where a stopped one was.
        debug: print the traceback of a mistake, too.
    Returns:
        What the command returns; 2 for what the user can mend, also a full disk; 130 for Ctrl-C;
        143 for SIGTERM; 1 where nobody reads what it prints.
    """
    heed_sigterm()
    of_threads = _errors_of_threads()
    more = "; the same command goes on from here" if goes_on else ""
    try:
        code = command()
        if not of_threads:
            return code
        raise of_threads[0]
    except InputError as error:
        if debug:
            traceback.print_exc()
        mistake = str(error)
    except BrokenPipeError:
        return 1
    except OSError as error:
        if error.errno not in _OF_DISK:
            raise
        mistake = f"{error.filename or 'a file'}: cannot be written ({error.strerror}){more}"
    except Terminated:
        print(f"\nstopped by SIGTERM{more}", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print(f"\nstopped{more}", file=sys.stderr)
        return 128 + signal.SIGINT
    print(f"{name}: {mistake}", file=sys.stderr)
    return 2


def _errors_of_threads() -> list[OSError]:
    """The disk's errors that threads end with from now on, as TensorBoard's writer does."""
    errors: list[OSError] = []

    def keep(ended: threading.ExceptHookArgs) -> None:
        if isinstance(ended.exc_value, OSError) and ended.exc_value.errno in _OF_DISK:
            errors.append(ended.exc_value)
        else:
            threading.__excepthook__(ended)

    threading.excepthook = keep
    return errors


def program() -> str:
    """Return what starts msdet in this shell: ``msdet`` where that is the one that runs now."""
    own = Path(sys.executable).with_name("msdet")
    if not own.exists():
        return f"{shlex.quote(sys.executable)} -m msdet"
    found = shutil.which("msdet")
    if found is not None and os.path.samefile(found, own):
        return "msdet"
    shown = own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own
    return shlex.quote(str(shown))


def tell(next: Sequence[str] = (), **paths: Path) -> None:
    """Print where results are and what to type next, a line each, which can be pasted.

    Args:
        next: a command of msdet and its arguments.
        paths: by what lies there; those that are not there are left out.
    """
    for name, path in paths.items():
        if path.exists():
            print(f"{name}:".ljust(10) + shlex.quote(str(path)))
    if next:
        print(f"{'next:':10}{program()} {shlex.join(next)}")


def heed_sigterm() -> None:
    """Let SIGTERM raise `Terminated` in the main thread; elsewhere do nothing."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
