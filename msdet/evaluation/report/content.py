# SPDX-License-Identifier: Apache-2.0
"""The content of a report. Plain numbers, texts and samples: no model, no corpus, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from msdet.evaluation.systems.names import NEW_DIRECTIONS, NEW_VOICES
from msdet.metrics import Measure, SceneRow, score_table
from msdet.metrics.measures import BEST_MATCHED, measures_in

_ALWAYS = ("wrong_slot_rate", "real_time_factor")

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Directions:
    """Where one system hears somebody, in the array's frame.

    Attributes:
        azimuth: ``[slot]`` degrees, NaN for a slot that claims none; None for no claims at all.
        posterior: ``[slot, class]``, not negative; None for a system without one.
        class_centres: ``[class]`` degrees; needed with a posterior.
    """

    azimuth: ArrayLike | None
    posterior: ArrayLike | None = None
    class_centres: ArrayLike | None = None


@dataclass(frozen=True)
class SceneView:
    """A scene to look at and listen to. Its scores are those of the row with the same id.

    Attributes:
        id: as in the rows.
        why: why it is shown: ``best``, ``median``, ``worst``, or any short text.
        sample_rate: hertz, of all audio here.
        room: (x, y, z) metres.
        array_centre: (x, y, z) metres in the room.
        array_rotation: degrees from the room's x axis to the array's, counter-clockwise.
        microphones: ``[mic, 3]`` metres in the room.
        speakers: ``[speaker, 3]`` metres in the room.
        azimuth: ``[speaker]`` degrees in the array's frame, the truth.
        mixture: ``[sample]`` at the reference microphone.
        targets: ``[speaker, sample]``.
        estimates: by system ``[speaker, sample]`` in the order of the speakers; NaN for a speaker
            whom no slot holds. A system that finds directions alone is left out.
        directions: by system; a system that separates alone is left out.
        linear_array: the array observes the angle to its axis alone, 0 to 180 degrees.
    """

    id: str
    why: str
    sample_rate: int
    room: tuple[float, float, float]
    array_centre: tuple[float, float, float]
    array_rotation: float
    microphones: ArrayLike
    speakers: ArrayLike
    azimuth: ArrayLike
    mixture: NDArray[Any]
    targets: NDArray[Any]
    estimates: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    directions: Mapping[str, Directions] = field(default_factory=dict)
    linear_array: bool = False


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows.

    Attributes:
        title: heading of the page.
        command: what was run.
        made_with: versions, commit and the like, by name.
        summary: ``summary.json``: the keys of :func:`msdet.metrics.summarise` for
            the main system, ``main_system`` (its name; otherwise the first), ``systems`` (the
            same by name) and ``comparisons``. What is missing or null shows as a dash.
        rows: every scene that was scored.
        scenes: those to look at and listen to.
        history: the epochs of the training that made the main system.
    """

    title: str
    command: str
    made_with: Mapping[str, str]
    summary: Mapping[str, Any]
    rows: Sequence[SceneRow] = ()
    scenes: Sequence[SceneView] = ()
    history: Sequence[Mapping[str, Any]] = ()

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of all systems, the main one first; of the rows where the summary has none."""
        main = self.summary.get("main_system")
        names = dict.fromkeys(() if main is None else (str(main),))
        names.update(dict.fromkeys(self.summary.get("systems") or {}))
        names.update(dict.fromkeys(name for row in self.rows for name in row.systems))
        return tuple(names) or ("system",)

    def number(self, system: str, key: str) -> str:
        """Return the key that a measure of a system is shown by: the same, or of a system that
        finds directions alone, the one of best matched directions, since it has no other."""
        matched = f"{key}{BEST_MATCHED}"
        summary = self.summary_of(system)
        return matched if summary.get(key) is None and matched in summary else key

    def tells(self, system: str, key: str) -> bool:
        """Return whether a measure of a system is shown: what stands behind a plus makes voices or
        directions anew, and the rest is what the system before it has."""
        after, measure = system.partition("+")[2], self.measures[key]
        if after in NEW_VOICES:
            return bool(measure.metric) or key in ("order_accuracy", *_ALWAYS)
        if after in NEW_DIRECTIONS:
            return measure.quantity.startswith("azimuth_error") or key in _ALWAYS
        return True

    @cached_property
    def measures(self) -> Mapping[str, Measure]:
        """The measures that systems are told by."""
        return measures_in(self.summary)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The scores of all scenes."""
        return score_table(self.rows)

    def summary_of(self, system: str) -> Mapping[str, Any]:
        """The summary of one system, empty where there is none."""
        found: Mapping[str, Any] | None = (self.summary.get("systems") or {}).get(system)
        if found is None:
            return self.summary if system == self.systems[0] else {}
        return found
