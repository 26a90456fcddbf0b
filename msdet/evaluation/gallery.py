# SPDX-License-Identifier: Apache-2.0
"""Pictures and audio of an evaluation: a few scenes from worst to best, and all directions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from msdet.audio import write_audio
from msdet.evaluation import pictures
from msdet.evaluation.metrics import SpeakerScore
from msdet.evaluation.rows import Row
from msdet.evaluation.scoring import SceneScorer
from msdet.simulation import Scene


def draw_gallery(
    output: Path, scorer: SceneScorer, scenes: Sequence[Scene], rows: Sequence[Row], count: int
) -> None:
    """Pictures and audio of scenes spread evenly from the worst to the best, and of all angles."""
    (output / "pictures").mkdir(exist_ok=True)
    (output / "audio").mkdir(exist_ok=True)
    by_index = {scene.index: scene for scene in scenes}
    gains = [(gain, row.index, row) for row in rows if (gain := _improvement(row)) is not None]
    ranked = [row for _, _, row in sorted(gains, key=lambda entry: entry[:2])]
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    for row in (ranked[place] for place in dict.fromkeys(places.tolist())):
        _draw_scene(output, scorer, by_index[row.index], row)
    _draw_angles(output / "pictures", rows, scorer.checkpoint.description.array.is_linear)


def _draw_scene(output: Path, scorer: SceneScorer, scene: Scene, row: Row) -> None:
    """Spectrograms, directions and WAVs of one scene, estimates beside their speakers."""
    example, result = scorer.separate(scene)
    scored = [(s, s.slot) for s in row.score.speakers if s.slot is not None]
    slots, speakers = [slot for _, slot in scored], [s.speaker for s, _ in scored]
    estimates, targets = result.audio[0].numpy()[slots], example.targets[speakers]
    mixture, rate = example.mixture[scene.reference_mic], scene.sample_rate
    pictures.spectrograms(
        mixture,
        estimates,
        targets,
        rate,
        output / "pictures" / f"{scene.id}-spectrograms.png",
        titles=[_spectrogram_title(s) for s, _ in scored],
    )
    locations = scorer.checkpoint.model.locate(result)
    if locations is not None:
        posteriors = locations.posterior[0][slots]
        pictures.polar_plot(
            example.azimuth[speakers],
            example.distance[speakers],
            locations.azimuth[0][slots].numpy(),
            output / "pictures" / f"{scene.id}-directions.png",
            posteriors=posteriors.numpy(),
            linear_array=scene.microphone_array().is_linear,
            title=scene.id,
        )
    scale = 0.9 / max(float(np.abs(x).max()) for x in (mixture, estimates, targets))
    stem = output / "audio" / scene.id
    write_audio(f"{stem}-mixture.wav", mixture * scale, rate)
    for number, estimate, target in zip(speakers, estimates, targets, strict=True):
        write_audio(f"{stem}-speaker{number + 1}-estimate.wav", estimate * scale, rate)
        write_audio(f"{stem}-speaker{number + 1}-target.wav", target * scale, rate)


def _spectrogram_title(speaker: SpeakerScore) -> str:
    before, after = speaker.scores["si_sdr_unprocessed"], speaker.scores["si_sdr"]
    known = before is not None and after is not None
    return f"speaker {speaker.speaker + 1}" + (
        f"\nSI-SDR {before:.1f} to {after:.1f} dB" if known else ""
    )


def _draw_angles(folder: Path, rows: Sequence[Row], linear: bool) -> None:
    claimed = [
        (s.azimuth, s.azimuth_estimate, s.azimuth_error, s.azimuth_error_best_matched)
        for row in rows
        for s in row.score.speakers
        if s.azimuth_estimate is not None
    ]
    if claimed:
        truth, estimate, error, best = np.array(claimed, dtype=float).T
        pictures.azimuth_scatter(truth, estimate, folder / "azimuths.png", linear_array=linear)
        pictures.error_histogram(error, folder / "azimuth-errors.png", best_matched=best)


def _improvement(row: Row) -> float | None:
    values = [s.scores.get("si_sdr_improvement") for s in row.score.speakers]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
