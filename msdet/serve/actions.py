# SPDX-License-Identifier: Apache-2.0
"""The buttons of the page at work on the values of its controls, and the choice of microphones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import escape
from pydantic import ValidationError

from msdet.errors import InputError, first_mistake
from msdet.geometry import MicrophoneArray, Positions
from msdet.inference.separator import Separator
from msdet.named_arrays import POSITIONS, named_array, named_arrays
from msdet.serve.jobs import separate_example, separate_recording, separate_room
from msdet.serve.room import read_setup

if TYPE_CHECKING:
    from msdet.serve.config import ServeConfig
    from msdet.serve.guard import Storage
    from msdet.serve.worker import Worker

OWN, TYPED = "own", POSITIONS
"""Choices beside the names of the configs; ``positions`` is the config that leaves them to you."""


def _told(action: Callable[..., str]) -> Callable[..., tuple[str, str]]:
    """Let an action return a message and a result, of which one is empty."""

    @wraps(action)
    def tell(*values: Any) -> tuple[str, str]:
        try:
            return "", action(*values)
        except InputError as error:
            return f'<div class="msdet-error" role="alert">{escape(str(error))}</div>', ""

    return tell


class Actions:
    """A method a button."""

    def __init__(
        self, separator: Separator, worker: Worker, config: ServeConfig, storage: Storage
    ) -> None:
        self._separator, self._worker, self._config = separator, worker, config
        self._storage = storage
        self.written: set[str] = set()
        """Files of results, for gradio to delete when they are old."""

    @_told
    def recording(self, file: str | None, choice: str | None, typed: str) -> str:
        if file is None:
            raise InputError("no recording was chosen; drop a file into the box")
        array, path = chosen_array(self._separator, choice, typed), Path(file)
        minutes = self._config.max_minutes
        return self._run(separate_recording, path, array, minutes, uploads=(path,))

    @_told
    def example(self, benchmark: str, number: float) -> str:
        return self._run(separate_example, benchmark, int(number))

    @_told
    def room(
        self,
        drawn: object,
        height: float,
        t60: float,
        seconds: float,
        snr_db: float,
        take: float,
        choice: str | None,
        typed: str,
        *voices: str,
    ) -> str:
        numbers = {"t60": t60, "seconds": seconds, "snr_db": snr_db, "take": take}
        setup = read_setup(drawn, height, voices=voices, **numbers)
        return self._run(separate_room, setup, chosen_array(self._separator, choice, typed))

    def draw_array(self, drawn: object, choice: str | None, typed: str) -> object:
        """Return the drawing with other microphones; unchanged while they are being typed."""
        try:
            array = chosen_array(self._separator, choice, typed)
        except InputError:
            return drawn
        return drawn | drawn_array(array) if isinstance(drawn, dict) else drawn

    def _run(
        self, job: Callable[..., str], *arguments: object, uploads: tuple[Path, ...] = ()
    ) -> str:
        with self._storage.held(*uploads) as folder:
            result = self._worker.run(job, folder, *arguments)
        self.written.update(str(path) for path in folder.iterdir())
        return result


def array_choices(separator: Separator) -> list[tuple[str, str]]:
    """List the arrays that the model serves: what the page shows, and what it stands for."""
    choices = [(f"as in training ({separator.description.array.name})", OWN)]
    for name, array in named_arrays().items():
        try:
            separator.array_for(array)
        except InputError:
            continue
        choices.append((f"{name} ({array.num_mics} microphones)", name))
    return [*choices, ("positions, typed in", TYPED)]


def chosen_array(separator: Separator, choice: str | None, typed: str) -> MicrophoneArray:
    """Return the microphones of a choice, which is never a file.

    Args:
        typed: JSON ``[[x, y, z], ...]`` in metres, where the choice is ``positions``.
    Raises:
        InputError: none was chosen, there is no such choice, what was typed is no list of
            positions, or the model does not serve them.
    """
    if choice is None:
        raise InputError("no microphones were chosen; choose those that it was recorded with")
    if choice == OWN:
        return separator.description.array
    return separator.array_for(_typed_array(typed) if choice == TYPED else named_array(choice))


def _typed_array(typed: str) -> MicrophoneArray:
    mend = "write metres such as [[0.05, 0, 0], [0, 0.05, 0], [-0.05, 0, 0]]"
    try:
        content = json.loads(typed)
        array = Positions.model_validate({"shape": "positions", "positions": content}).build()
    except json.JSONDecodeError as error:
        place = f"{error.msg}, column {error.colno}"
        raise InputError(f"positions: not JSON ({place}); {mend}") from error
    except ValidationError as error:
        raise InputError(f"{first_mistake(error)}; {mend}") from error
    return array


def drawn_array(array: MicrophoneArray) -> dict[str, Any]:
    """Return what a drawing takes: microphones from above, and the degrees from the array's x axis
    to the line of a linear array."""
    axis = array.axis
    degrees = None if axis is None else math.degrees(math.atan2(axis[1], axis[0]))
    return {"microphones": array.as_array()[:, :2].tolist(), "axis": degrees}
