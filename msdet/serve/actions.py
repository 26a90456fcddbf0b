# SPDX-License-Identifier: Apache-2.0
"""The buttons of the page, at work on the values of its controls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from markupsafe import escape

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.inference.separator import Separator
from msdet.serve.arrays import chosen_array, line_axis
from msdet.serve.config import ServeConfig
from msdet.serve.jobs import (
    ExampleJob,
    RecordingJob,
    RoomJob,
    separate_example,
    separate_recording,
    separate_room,
)
from msdet.serve.outcome import Outcome
from msdet.serve.result_view import result_html
from msdet.serve.room_setup import read_setup
from msdet.serve.storage import Storage
from msdet.serve.worker import Worker


class Actions:
    """A method a button; each returns a message and a result, of which one is empty."""

    def __init__(
        self, separator: Separator, worker: Worker, config: ServeConfig, storage: Storage
    ) -> None:
        self._separator, self._worker, self._config = separator, worker, config
        self._storage = storage
        self.written: set[str] = set()
        """Files of results, for gradio to delete when they are old."""

    def recording(self, file: str | None, choice: str | None, typed: str) -> tuple[str, str]:
        def work(folder: Path) -> Outcome:
            if file is None:
                raise InputError("no recording was chosen; drop a file into the box")
            array = chosen_array(self._separator, choice, typed)
            path = Path(file)
            if not path.is_file():
                raise InputError(f"{path.name}: is no longer here; drop it into the box again")
            job = RecordingJob(path, array, self._config.max_minutes, folder)
            return self._worker.run(separate_recording, job)

        return self._answer(work, *([Path(file)] if file else []))

    def example(self, benchmark: str, number: float) -> tuple[str, str]:
        return self._answer(
            lambda folder: self._worker.run(
                separate_example, ExampleJob(benchmark, int(number), folder)
            )
        )

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
    ) -> tuple[str, str]:
        def work(folder: Path) -> Outcome:
            setup = read_setup(
                drawn,
                height,
                t60=t60,
                voices=voices,
                seconds=seconds,
                snr_db=snr_db,
                take=take,
            )
            array = chosen_array(self._separator, choice, typed)
            return self._worker.run(separate_room, RoomJob(setup, array, folder))

        return self._answer(work)

    def draw_array(self, drawn: object, choice: str | None, typed: str) -> object:
        """The drawing with other microphones; with those it has while they are being typed."""
        try:
            array = chosen_array(self._separator, choice, typed)
        except InputError:
            return drawn
        return drawn | drawn_array(array) if isinstance(drawn, dict) else drawn

    def _answer(self, work: Callable[[Path], Outcome], *uploads: Path) -> tuple[str, str]:
        folder = self._storage.results / uuid4().hex
        try:
            with self._storage.held(folder, *uploads):
                outcome = work(folder)
        except InputError as error:
            return f'<div class="msdet-error" role="alert">{escape(str(error))}</div>', ""
        self.written.update(str(path) for path in folder.iterdir())
        return "", result_html(outcome)


def drawn_array(array: MicrophoneArray) -> dict[str, Any]:
    """Return what a drawing takes: microphones from above, and the axis of a linear array."""
    return {
        "microphones": array.as_array()[:, :2].tolist(),
        "axis": line_axis(array),
    }
