# SPDX-License-Identifier: Apache-2.0
"""The choice of the metrics to compute: named ones, installed ones, the user's own."""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from msdet.errors import InputError
from msdet.metrics.measures import MEASURES, METRICS, measures_of_metric
from msdet.metrics.metric import Metric, SceneTruth, one_line, say
from msdet.metrics.signals.error_parts import WINDOW_MS, error_metrics
from msdet.metrics.signals.wer import WordErrorRate
from msdet.parts import OwnPart, build

MATCHING = METRICS["si_sdr"]
"""The metric that is always computed: it matches outputs and speakers."""


_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN = {
    "silent",
    "attenuation_db",
    *(key for measure in MEASURES.values() for key in (measure.name, measure.quantity)),
}
"""Keys that no metric of the user's own may have."""


def choose_metrics(
    asked: Sequence[str | OwnPart | Metric] | None,
    sample_rate: int,
    recogniser: str | None = None,
    error_window_ms: float = WINDOW_MS,
) -> tuple[tuple[Metric, ...], dict[str, str]]:
    """Return the metrics to compute, and those that this installation lacks with the reason.

    Args:
        asked: names, and classes of the user's own; None takes all that are installed, but for
            those that take long (DNSMOS) or need more (the word error rate), with PESQ in the band
            of the audio.
        sample_rate: of the audio, Hz.
        recogniser: ``package.module:function``, of the word error rate.
        error_window_ms: windows that the parts of the error are told apart in.
    Raises:
        InputError: an unknown name, one that was asked for and is not installed or does not suit
            the audio, or a class that cannot be used; names the key.
    """
    parts = {metric.name: metric for metric in error_metrics(error_window_ms)}
    known: Mapping[str, Metric] = {**METRICS, **parts, "wer": WordErrorRate(recogniser)}
    if recogniser is not None and "wer" not in (asked or ()):
        raise InputError(
            f"recogniser={recogniser}: is for the metric wer, which is not computed: name it in "
            "metrics=, or leave the recogniser out"
        )
    if asked is None:
        wanted = [metric for metric in known.values() if say(metric, "by_default")(sample_rate)]
    else:
        named = {each: known[each] for each in asked if isinstance(each, str) and each in known}
        for each in asked:
            if isinstance(each, str) and each not in known:
                raise InputError(f"metrics: {each!r} is none of {', '.join(known)}")
        wanted = [m for name, m in known.items() if name == MATCHING.name or name in named]
        for i, each in enumerate(asked):
            if not isinstance(each, str):
                wanted.append(_own(each, f"metrics.{i}", [metric.name for metric in wanted]))
    unavailable: dict[str, str] = {}
    for metric in wanted:
        packages = say(metric, "packages")
        if (why := _why_unavailable(packages)) is not None:
            unavailable[metric.name] = why
            if asked is not None:
                raise InputError(
                    f"metrics: {metric.name!r} needs the package{'s' if len(packages) > 1 else ''} "
                    f"{' and '.join(packages)} ({why}): pip install {' '.join(packages)}, "
                    "or leave the metric out"
                )
        elif (why := say(metric, "why_not")(sample_rate)) is not None:
            raise InputError(f"metrics: {metric.name!r} {why}")
    return tuple(m for m in wanted if m.name not in unavailable), unavailable


def number_of(metric: Metric, value: Any, key: str = "") -> float | None:
    """Return what a metric gave, which must be one number, or None.

    Raises:
        InputError: it is something else; names the metric.
    """
    if value is None:
        return None
    shape = np.shape(value)
    try:
        if shape != ():
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        kind = f"an array of shape {shape}" if shape else f"{type(value).__name__} {value!r}"
        raise InputError(
            f"{key or f'metrics: {metric.name!r}'}: {type(metric).__name__} returned {kind}, "
            "expected one number"
        ) from None


def _own(part: OwnPart | Metric, key: str, taken: Sequence[str]) -> Metric:
    """Make a metric of the user's own, and try it on two short noises."""
    found: Any = build(part, key) if isinstance(part, OwnPart) else part
    of = part.target if isinstance(part, OwnPart) else type(part).__name__
    name = getattr(found, "name", None)
    if not (callable(found) and isinstance(name, str) and _NAME.fullmatch(name)):
        raise InputError(
            f"{key}: {of} is no metric: it must be called with (signal, truth, speaker), and have "
            f"a name of small letters, digits and _, not {name!r}"
        )
    for attribute, kind in get_type_hints(Metric).items():
        said = say(found, attribute)
        try:
            TypeAdapter(kind).validate_python(said)
        except ValidationError as error:
            told = error.errors()[0]["msg"]
            raise InputError(f"{key}: {of}: {attribute}={said!r}: {told}") from error
    if isinstance(part, OwnPart):
        try:
            pickle.dumps(found)
        except Exception as error:  # pickle's, and whatever the user's own class raises
            raise InputError(
                f"{key}: {of} does not pickle, which sends it to other processes "
                f"({one_line(error)})"
            ) from error
    keys = {
        key for measure in measures_of_metric(found) for key in (measure.name, measure.quantity)
    }
    if name in taken or keys & _TAKEN:
        raise InputError(
            f"{key}: {of}: there is a metric of the name {name!r} already; give it another name"
        )
    rate = 16000
    noise = np.random.default_rng(0).standard_normal((3, rate))
    voices, mixture = noise[:2], noise.sum(axis=0)
    truth = SceneTruth(voices, mixture, rate, [0.0, 90.0], images=voices, early=voices)
    try:
        value = found(noise[0] + 0.1 * noise[2], truth, 0)
    except TypeError as error:
        raise InputError(
            f"{key}: {of} cannot be called with (signal, truth, speaker) ({one_line(error)})"
        ) from error
    except Exception:  # noise is no speech: what it says of that is no verdict
        return found  # type: ignore[no-any-return]
    number_of(found, value, key)
    return found  # type: ignore[no-any-return]


def _why_unavailable(packages: Sequence[str]) -> str | None:
    try:
        for package in packages:
            importlib.import_module(package)
    except Exception as error:  # a compiled package can also break on another numpy's ABI
        return one_line(error)
    return None
