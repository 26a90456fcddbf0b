# SPDX-License-Identifier: Apache-2.0
"""The content of a report. Plain numbers, texts and samples: no model, no corpus, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from msdet.evaluation.systems.names import NEW_DIRECTIONS, NEW_VOICES
from msdet.metrics import Measure, SceneRow, score_table
from msdet.metrics.measures import BEST_MATCHED, measures_in

if TYPE_CHECKING:
    import pandas as pd

GAIN, ERROR = "si_sdr_improvement_db", "azimuth_error_median_deg"
"""Measures that the page tells first, in plots and of each scene."""

_ALWAYS = ("wrong_slot_rate", "real_time_factor")


@dataclass(frozen=True)
class Directions:
    """Where one system hears somebody, in the array's frame.

    Attributes:
        azimuth: ``[slot]`` degrees, NaN for a slot that claims none.
        posterior: ``[slot, class]``, not negative; None for a system without one.
        class_centres: ``[class]`` degrees; needed with a posterior.
    """

    azimuth: NDArray[Any]
    posterior: NDArray[Any] | None = None
    class_centres: NDArray[Any] | None = None


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
    microphones: NDArray[Any]
    speakers: NDArray[Any]
    azimuth: NDArray[Any]
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
        summary: ``summary.json``: ``systems``, the main one first, each with the keys of
            :func:`msdet.metrics.summarise`; and ``comparisons``. A null shows as a dash.
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
        """Names of all systems, the main one first."""
        return tuple(self.summary["systems"])

    def number(self, system: str, key: str) -> str:
        """Return the key that a measure of a system is shown by: the same, or of a system that
        finds directions alone, the one of best matched directions, since it has no other."""
        summary, matched = self.summary["systems"][system], f"{key}{BEST_MATCHED}"
        return matched if summary.get(key) is None and matched in summary else key

    def told(self, system: str, key: str) -> tuple[float | None, list[float]]:
        """Return a measure of a system and the ends of its interval; (None, []) if not shown."""
        summary, own = self.summary["systems"][system], self.number(system, key)
        if not self.tells(system, key):
            return None, []
        return summary.get(own), summary["intervals"].get(own, [])

    def tells(self, system: str, key: str) -> bool:
        """Return whether a measure of a system is shown: what stands behind a plus makes voices or
        directions anew, and the rest is what the system before it has."""
        after, measure = system.partition("+")[2], self.measures[key]
        if after in NEW_VOICES:
            return bool(measure.metric) or key in ("order_accuracy", *_ALWAYS)
        if after in NEW_DIRECTIONS:
            return measure.quantity.startswith("azimuth_error") or key in _ALWAYS
        return True

    def values(self, system: str, quantity: str) -> pd.DataFrame:
        """Return a system's lines of the table of scores."""
        table = self._table
        return table[(table["system"] == system) & (table["quantity"] == quantity)]

    def scene_means(self, system: str, quantity: str) -> pd.Series[float]:
        """Return means over the speakers by the index of the scene, of those that have values."""
        return self.values(system, quantity).groupby("scene")["value"].mean()

    def errors_of(self, system: str) -> str:
        """Return the quantity of a system's azimuth errors: as claimed; best matched of one that
        gives no sound to match by."""
        found = self.values(system, "azimuth_error")
        return "azimuth_error" + (BEST_MATCHED if found.empty else "")

    @cached_property
    def measures(self) -> Mapping[str, Measure]:
        """The measures that systems are told by."""
        return measures_in(self.summary)

    @cached_property
    def _table(self) -> pd.DataFrame:
        return score_table(self.rows)
