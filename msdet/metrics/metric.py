# SPDX-License-Identifier: Apache-2.0
"""A metric of a separated signal, and the truth of a scene that it is held against."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Signal = NDArray[np.float64]

NOT_FINITE = "the signal holds NaN or infinite samples"

SILENT_DB = -60.0
"""A target this far below the mixture is silent: even at 30 dB SNR it lies under the noise."""

SPEECH_LEVEL_DBFS = -25.0
"""Level at which networks hear a signal: the middle of what those of the DNS challenge were trained
on (-35 to -15). Estimates have no scale of their own, and their scores must not depend on it."""


class SceneTruth:
    """Hold what is known of one scene, for every signal that is scored on it.

    Attributes:
        targets: float64 ``[speaker, sample]`` at the reference microphone, in the scene's order.
        mixture: float64 ``[sample]`` at the reference microphone.
        sample_rate: hertz.
        azimuth: ``[speaker]`` degrees in the array's frame; None where it is not known.
        distance: ``[speaker]`` metres; None where it is not known.
        images: float64 ``[speaker, sample]``, each speaker as the reference microphone hears it,
            with its room; None where it is not known.
        early: float64 ``[speaker, sample]``, of the images what comes up to 50 ms after the direct
            path; None where it is not known.
        track: float64 ``[speaker, moment]`` degrees, the azimuth every
            ``msdet.moments.TRACK_SECONDS`` from the start; None where nobody walks.
        active: the speakers that are not silent.
    """

    def __init__(
        self,
        targets: ArrayLike,
        mixture: ArrayLike,
        sample_rate: int,
        azimuth: ArrayLike | None = None,
        distance: ArrayLike | None = None,
        *,
        images: ArrayLike | None = None,
        early: ArrayLike | None = None,
        track: ArrayLike | None = None,
    ) -> None:
        """Check the shapes.

        Raises:
            ValueError: names the argument, what came and what was expected.
        """
        self.targets = np.asarray(targets, np.float64)
        self.mixture = np.asarray(mixture, np.float64)
        self.sample_rate = sample_rate
        shape, samples = self.targets.shape, self.mixture.shape
        if len(shape) != 2 or samples != shape[1:]:
            raise ValueError(
                "expected targets [speaker, sample] and mixture [sample] with the same number of "
                f"samples, got {shape} and {samples}"
            )
        if not (np.isfinite(self.targets).all() and np.isfinite(self.mixture).all()):
            raise ValueError("targets and mixture must be finite")
        if not self.mixture.any():
            raise ValueError("mixture is silent")
        self.azimuth, self.distance = (
            None if values is None else np.asarray(values, np.float64)
            for values in (azimuth, distance)
        )
        for name in ("azimuth", "distance"):
            known = getattr(self, name)
            if known is not None and (known.shape != shape[:1] or not np.isfinite(known).all()):
                raise ValueError(f"{name} must be {shape[0]} finite numbers, got {known}")
        self.images, self.early = (
            None if signals is None else np.asarray(signals, np.float64)
            for signals in (images, early)
        )
        self.track = None if track is None else np.asarray(track, np.float64)
        if self.track is not None and (
            self.track.shape[:1] != shape[:1] or not np.isfinite(self.track).all()
        ):
            raise ValueError(f"track must be {shape[0]} rows of finite numbers, got {self.track}")
        for name in ("images", "early"):
            known = getattr(self, name)
            if known is not None and (known.shape != shape or not np.isfinite(known).all()):
                raise ValueError(
                    f"{name} must be finite and of the targets' shape, {shape}, got {known.shape}"
                )
        self.active = tuple(i for i, target in enumerate(self.targets) if not self.silent(target))
        self._known: dict[tuple[str, int], tuple[Signal, Any]] = {}

    def silent(self, signal: Signal) -> bool:
        """Return whether ``[sample]`` is ``SILENT_DB`` or more below the mixture."""
        return rms(signal) <= rms(self.mixture) * 10 ** (SILENT_DB / 20)

    def once(self, what: str, signal: Signal, compute: Callable[[], Any]) -> Any:
        """Return what ``compute`` says of a signal ``[sample]``, asked only the first time.

        For what several metrics share, or what is the same for every speaker.
        """
        key = (what, id(signal))
        if key not in self._known:
            self._known[key] = (signal, compute())  # kept, or another could get its id
        return self._known[key][1]


class Metric(Protocol):
    """Score a signal as an estimate of one speaker.

    A class needs a ``name`` and ``__call__``; all other attributes have the defaults below, also
    where it does not inherit from this one. A metric is sent to other processes, so it must
    pickle: open what is large at the first call.

    Attributes:
        name: key in ``summary.json`` and columns of ``rows.csv``: small letters, digits and ``_``.
        title: in tables, without the unit. unit: such as ``dB``; ``%`` for a share of 0 to 1.
        digits: behind the point, in tables.
        higher_is_better: an improvement is positive where the estimate is the better one.
        packages: what must be installed beside msdet's own dependencies.
        slow: takes more than some 20 ms of a signal of four seconds, so that it is not computed of
            every classical system.
        shown: the value itself, or its improvement over the mixture, in tables of systems.
        column: in all ``tables`` of systems, or in the ``report`` alone.
        rank: place in tables, lower ones first.
    """

    name: str
    title: str = ""
    unit: str = ""
    digits: int = 2
    higher_is_better: bool = True
    packages: tuple[str, ...] = ()
    slow: bool = True
    shown: Literal["value", "improvement"] = "value"
    column: Literal["tables", "report"] = "tables"
    rank: int = 100

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float | None:
        """Score one signal.

        Args:
            signal: float64 ``[sample]``, finite and not silent; an estimate, or the mixture.
            truth: holds ``targets``, ``images`` and ``early`` ``[speaker, sample]``, ``mixture``
                ``[sample]``, ``sample_rate``, and which speakers are ``active``.
            speaker: index of the one that the signal is an estimate of; an active one.
        Returns:
            One number; None where it means nothing for this scene, which is no failure.
        Raises:
            Exception: any, with the reason why there is no number; it is counted and shown.
        """
        ...

    def by_default(self, sample_rate: int) -> bool:
        """Return whether it is computed where no metrics are named, at this rate in hertz."""
        return True

    def why_not(self, sample_rate: int) -> str | None:
        """Return why audio at this rate cannot be scored, in one line; None where it can."""
        return None


def say(metric: Metric, attribute: str) -> Any:
    """Return an attribute or method of a metric, the default of ``Metric`` where it has none."""
    if attribute == "title":
        return getattr(metric, attribute, "") or metric.name.replace("_", " ")
    if hasattr(metric, attribute):
        return getattr(metric, attribute)
    default = getattr(Metric, attribute)
    return default.__get__(metric) if callable(default) else default


def rms(signal: Signal) -> float:
    """Root mean square of ``[sample]``."""
    return float(np.sqrt(np.mean(np.square(signal))))


def why_unusable(signal: Signal) -> str | None:
    """Return why no metric can be computed of ``[sample]``; None where they can."""
    if not np.isfinite(signal).all():
        return NOT_FINITE
    return None if signal.any() else "the signal is all zeros"


def at_speech_level(signal: Signal) -> NDArray[np.float32]:
    """``[sample]`` at ``SPEECH_LEVEL_DBFS``, or quieter where its peaks would leave -1 to 1."""
    level = 10 ** (SPEECH_LEVEL_DBFS / 20) / rms(signal)
    peak = float(np.abs(signal).max())
    return (signal * min(level, 1.0 / peak)).astype(np.float32)


def resampled(signal: Signal, rate: int, to: int) -> Signal:
    """``[sample]`` at another rate; rates in hertz."""
    if rate == to:
        return signal
    from scipy.signal import resample_poly

    common = math.gcd(rate, to)
    return np.asarray(resample_poly(signal, to // common, rate // common))


def one_line(error: Exception) -> str:
    """Return what a metric says of its failure, in one line."""
    first = error.args[0] if error.args else ""
    text = first.decode(errors="replace") if isinstance(first, bytes) else str(error)
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return kind + " ".join(text.split())
