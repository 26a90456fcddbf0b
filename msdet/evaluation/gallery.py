# SPDX-License-Identifier: Apache-2.0
"""A few scenes from the worst to the best, to look at and to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msdet.audio import write_audio
from msdet.evaluation.pictures.directions import azimuth_scatter, error_histogram, polar_plot
from msdet.evaluation.pictures.sound import spectrograms
from msdet.evaluation.preparation import Prepared
from msdet.evaluation.report.content import Directions, SceneView
from msdet.evaluation.scoring import Done, SceneScorer
from msdet.evaluation.systems.estimate import Estimate
from msdet.evaluation.systems.names import NEW_DIRECTIONS, NEW_VOICES
from msdet.metrics.scores import SceneRow, SceneScore, SpeakerScore

_HEARD_ALONE = ("srp_mpdr", "oracle_mvdr")
"""Heard beside the models and the voices made of theirs; the others are read, and would make the
page large."""


def draw_gallery(
    output: Path, prepared: Prepared, rows: Sequence[SceneRow], count: int
) -> tuple[SceneView, ...]:
    """Pictures and audio of scenes spread evenly from the worst to the best, and of all angles.

    Returns:
        The same scenes, for the report, the best first.
    """
    (output / "pictures").mkdir(exist_ok=True)
    (output / "audio").mkdir(exist_ok=True)
    scorer, main = SceneScorer(prepared.scoring), prepared.main
    by_index = {scene.index: scene for scene in prepared.scenes}
    views = []
    for place, row in _chosen(rows, main, count):
        done = scorer.do(by_index[row.index])
        _draw_scene(output, done, row, prepared)
        views.append(_view(place, done, row, prepared))
    _draw_angles(output / "pictures", [row.systems[main] for row in rows], prepared.linear)
    return tuple(views)


def _chosen(rows: Sequence[SceneRow], main: str, count: int) -> list[tuple[str, SceneRow]]:
    """The best first, each with its place among all."""
    gains = [(g, row.index, row) for row in rows if (g := _goodness(row.systems[main])) is not None]
    ranked = [row for _, _, row in sorted(gains, key=lambda entry: entry[:2], reverse=True)]
    last = len(ranked) - 1
    spread = np.linspace(0, last, min(count, len(ranked))).round().astype(int)
    places = dict.fromkeys(spread.tolist())
    names = {round(last / 2): "median", last: "worst", 0: "best"}
    return [(names.get(p, f"place {p + 1} of {last + 1}"), ranked[p]) for p in places]


def _goodness(score: SceneScore) -> float | None:
    """Mean SI-SDR improvement, or of what finds directions alone, less error; None without."""
    gains = [s.scores.get("si_sdr_improvement") for s in score.speakers]
    if known := [gain for gain in gains if gain is not None]:
        return sum(known) / len(known)
    errors = [s.azimuth_error_best_matched for s in score.speakers]
    known = [-error for error in errors if error is not None]
    return sum(known) / len(known) if known else None


def _view(why: str, done: Done, row: SceneRow, prepared: Prepared) -> SceneView:
    heard, example = done.heard, done.heard.example
    scene, room = example.scene, example.scene.room
    shown = [
        name
        for name in prepared.scoring.systems
        if name in (*prepared.scoring.models, *_HEARD_ALONE) or _after(name) in NEW_VOICES
    ]
    return SceneView(
        id=scene.id,
        why=why,
        sample_rate=scene.sample_rate,
        room=room.size,
        array_centre=room.array_centre,
        array_rotation=room.array_rotation,
        microphones=room.microphones(heard.array),
        speakers=np.array([speaker.position for speaker in room.speakers]),
        azimuth=example.azimuth,
        mixture=heard.reference,
        targets=example.targets,
        estimates={
            name: _of_slots(audio, [s.slot for s in row.systems[name].speakers])
            for name in shown
            if (audio := done.estimates[name].audio) is not None
        },
        directions={
            name: _directions(name, done.estimates[name], prepared)
            for name in prepared.scoring.systems
            if done.estimates[name].azimuth is not None
            if "+" not in name or _after(name) in NEW_DIRECTIONS
        },
        linear_array=heard.array.is_linear,
    )


def _after(system: str) -> str:
    return system.partition("+")[2]


def _of_slots(values: NDArray[np.floating], slots: Sequence[int | None]) -> NDArray[np.floating]:
    """Rows of slots; NaN for None, and for slots beyond the outputs: nothing was put out."""
    found = np.full((len(slots), *values.shape[1:]), np.nan, values.dtype)
    for row, slot in enumerate(slots):
        if slot is not None and slot < len(values):
            found[row] = values[slot]
    return found


def _directions(name: str, estimate: Estimate, prepared: Prepared) -> Directions:
    checkpoint = prepared.checkpoints.get(name)
    posterior, centres = estimate.posterior, None
    if posterior is not None and checkpoint is not None:
        centres = checkpoint.model.grid.centres
    if centres is None or posterior is None or posterior.shape[1] != len(centres):
        posterior = centres = None
    return Directions(estimate.azimuth, posterior, centres)


def _draw_scene(output: Path, done: Done, row: SceneRow, prepared: Prepared) -> None:
    """Spectrograms, directions and WAVs of one scene, estimates beside their speakers."""
    heard, example = done.heard, done.heard.example
    scene, estimate, score = (
        example.scene,
        done.estimates[prepared.main],
        row.systems[prepared.main],
    )
    scored = [s for s in score.speakers if not s.silent]
    if not scored:
        return
    slots, speakers = [_slot(s, score) for s in scored], [s.speaker for s in scored]
    mixture, rate, targets = heard.reference, scene.sample_rate, example.targets[speakers]
    if estimate.azimuth is not None:
        found = estimate.posterior
        polar_plot(
            example.azimuth[speakers],
            example.distance[speakers],
            _of_slots(estimate.azimuth, slots),
            output / "pictures" / f"{scene.id}-directions.png",
            posteriors=None if found is None else _of_slots(found, slots),
            linear_array=heard.array.is_linear,
            title=scene.id,
        )
    if estimate.audio is None:
        return
    estimates = np.nan_to_num(_of_slots(estimate.audio, slots))
    spectrograms(
        mixture,
        estimates,
        targets,
        rate,
        output / "pictures" / f"{scene.id}-spectrograms.png",
        titles=[_spectrogram_title(s) for s in scored],
    )
    scale = 0.9 / max(float(np.abs(x).max()) for x in (mixture, estimates, targets))
    stem = output / "audio" / scene.id
    write_audio(f"{stem}-mixture.wav", mixture * scale, rate)
    for number, separated, target in zip(speakers, estimates, targets, strict=True):
        if separated.any():  # a speaker for whom nothing was put out has no file
            write_audio(f"{stem}-speaker{number + 1}-estimate.wav", separated * scale, rate)
        write_audio(f"{stem}-speaker{number + 1}-target.wav", target * scale, rate)


def _slot(speaker: SpeakerScore, score: SceneScore) -> int | None:
    """The slot that holds a speaker's voice; of what finds directions alone, the one that fits."""
    by_azimuth = score.speaker_of_slot_by_azimuth
    if speaker.slot is None and by_azimuth is not None and speaker.speaker in by_azimuth:
        return by_azimuth.index(speaker.speaker)
    return speaker.slot


def _spectrogram_title(speaker: SpeakerScore) -> str:
    before, after = speaker.scores["si_sdr_unprocessed"], speaker.scores["si_sdr"]
    known = before is not None and after is not None
    return f"speaker {speaker.speaker + 1}" + (
        f"\nSI-SDR {before:.1f} to {after:.1f} dB" if known else ""
    )


def _draw_angles(folder: Path, scores: Sequence[SceneScore], linear: bool) -> None:
    speakers = [s for score in scores for s in score.speakers]
    found = [
        (s.azimuth, s.azimuth_estimate, s.azimuth_error, s.azimuth_error_best_matched)
        for s in speakers
        if s.azimuth_estimate is not None
    ] or [  # of what finds directions alone
        (s.azimuth, s.azimuth_estimate_best_matched, *2 * (s.azimuth_error_best_matched,))
        for s in speakers
        if s.azimuth_estimate_best_matched is not None
    ]
    if found:
        truth, estimate, error, best = np.array(found, dtype=float).T
        azimuth_scatter(truth, estimate, folder / "azimuths.png", linear_array=linear)
        error_histogram(error, folder / "azimuth-errors.png", best_matched=best)
