# SPDX-License-Identifier: Apache-2.0
"""Where the scenes of a set come from, any stretch of them at a time: drawn, or read from a file.

Neither holds the whole set in memory: sets may have millions of scenes.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from msdet.corpora import Corpus, Split
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation.config import SceneConfig
from msdet.simulation.layouts import Format, check_id
from msdet.simulation.recordings import open_recordings
from msdet.simulation.scene import Scene, draw_scene
from msdet.simulation.scene_files import UNREADABLE, check_corpus, open_rows, parse_scene


@dataclass(frozen=True)
class DrawnScenes:
    """Scenes of epoch 0 by their index, each in a room of its own, as `fixed_scenes` draws them.

    Attributes:
        corpus: the split's part. seconds: None for mixtures as long as their longest utterance.
        recordings: fingerprint of the recordings of noise, if `config` names a folder of them.
    """

    config: SceneConfig
    array: MicrophoneArray
    corpus: Corpus
    seed: int
    split: Split
    sample_rate: int
    seconds: float | None
    count: int
    recordings: str | None = None

    def __len__(self) -> int:
        return self.count

    @property
    def most_speakers(self) -> int:
        return self.config.num_speakers[1]

    def read(self, indices: Sequence[int]) -> list[Scene]:
        """The scenes of these indices."""
        return [
            draw_scene(
                self.config,
                self.array,
                self.corpus,
                seed=self.seed,
                split=self.split,
                index=index,
                epoch=0,
                sample_rate=self.sample_rate,
                num_samples=None
                if self.seconds is None
                else round(self.seconds * self.sample_rate),
            )
            for index in indices
        ]

    def request(self) -> dict[str, Any]:
        """What shapes the scenes, as plain values."""
        noise = {"recordings": {"fingerprint": self.recordings}} if self.recordings else {}
        return {
            "seed": self.seed,
            "split": self.split,
            "num_scenes": self.count,
            "seconds": self.seconds,
            "sample_rate": self.sample_rate,
            "scene": self.config.model_dump(mode="json"),
            "array": {"name": self.array.name, "positions": self.array.positions},
            "corpus": {"name": self.corpus.name, "fingerprint": self.corpus.fingerprint},
            **noise,
        }


@dataclass(frozen=True)
class FileScenes:
    """Scenes of a file of `write_scenes`, by the number of their line.

    Attributes:
        starts: where each scene's line begins, bytes. digest: of the lines; a file and what is
            compressed of it have the same.
    """

    path: Path
    starts: array[int]
    digest: str
    sample_rate: int
    most_speakers: int

    def __len__(self) -> int:
        return len(self.starts)

    def read(self, indices: Sequence[int]) -> list[Scene]:
        """The scenes of these lines."""
        scenes = []
        try:
            with open_rows(self.path) as file:
                for index in indices:
                    file.seek(self.starts[index])
                    line = file.readline().decode()
                    scenes.append(parse_scene(f"{self.path}: scene {index}", line))
        except UNREADABLE as error:
            raise _unreadable(self.path, error) from error
        return scenes

    def request(self) -> dict[str, Any]:
        """What shapes the scenes, as plain values."""
        return {
            "scenes": self.digest,
            "num_scenes": len(self),
            "sample_rate": self.sample_rate,
        }


ScenesSource = DrawnScenes | FileScenes


def sample_rate_of(path: Path) -> int:
    """The sample rate of a file of scenes.

    Raises:
        InputError: its first row is no scene.
    """
    try:
        with open_rows(path) as file:
            line = b"".join(islice((row for row in file if row.strip()), 1)).decode()
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    if not line:
        raise InputError(f"{path}: holds no scenes")
    return parse_scene(f"{path}:1", line).sample_rate


def open_scenes(path: Path, corpus: Corpus, format: Format, count: int | None = None) -> FileScenes:
    """See that the scenes of a file can be rendered, and where each one stands.

    Args:
        count: how many of the first to take; None takes all.
    Raises:
        InputError: names the first row that is no scene, of another corpus or sample rate, or
            whose id cannot name a file or came before; or the file has fewer than ``count``.
    """
    starts, keys, most = array("q"), array("Q"), 0
    digest = hashlib.sha256()
    try:
        with open_rows(path) as file:
            position = 0
            for number, line in enumerate(file, 1):
                if len(starts) == count:
                    break
                digest.update(line)
                start, position = position, position + len(line)
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                scene = parse_scene(where, line.decode())
                _check(where, scene, corpus, format)
                # Eight bytes an id: that two of a million coincide has a chance of 1 in 10^7.
                keys.append(int.from_bytes(hashlib.sha256(scene.id.encode()).digest()[:8]))
                starts.append(start)
                most = max(most, len(scene.speech))
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    if not starts:
        raise InputError(f"{path}: holds no scenes")
    if count is not None and len(starts) < count:
        raise InputError(
            f"num_scenes={count}: {path} has {len(starts)} scenes; give at most as many"
        )
    source = FileScenes(path, starts, digest.hexdigest(), corpus.sample_rate, most)
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(np.diff(np.asarray(keys)[order]) == 0)
    if len(again):
        (scene,) = source.read([int(order[again + 1].min())])
        raise InputError(f"{path}: id {scene.id!r} comes twice; ids name the files")
    return source


def _check(where: str, scene: Scene, corpus: Corpus, format: Format) -> None:
    if scene.sample_rate != corpus.sample_rate:
        raise InputError(
            f"{where}: sample_rate: {scene.sample_rate}, but that of the first scene is "
            f"{corpus.sample_rate}; render them apart"
        )
    try:
        check_corpus([scene], corpus)
        check_id(scene.id, format)
        for crop in scene.speech:
            corpus.by_id(crop.utterance)
        _check_recordings(scene)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _check_recordings(scene: Scene) -> None:
    background = scene.background
    if background is None or background.recordings_folder is None:
        return
    recordings = open_recordings(background.recordings_folder, scene.sample_rate)
    if recordings.fingerprint != background.recordings_fingerprint:
        raise InputError(
            f"background.recordings_folder={background.recordings_folder}: holds other recordings "
            f"({recordings.fingerprint}) than the scene was drawn with "
            f"({background.recordings_fingerprint})"
        )


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{path}: cannot be read as a file of scenes ({reason})")
