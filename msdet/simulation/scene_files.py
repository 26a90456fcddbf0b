# SPDX-License-Identifier: Apache-2.0
"""Files of scenes, one scene a line, as JSON (those named ``.xz`` are compressed); and sets of
scenes, drawn or of a file, that are read a few at a time: they may have millions."""

from __future__ import annotations

import hashlib
import lzma
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic import ValidationError

from msdet.corpora import Corpus, Split
from msdet.errors import InputError, first_mistake
from msdet.files import replacing
from msdet.geometry import MicrophoneArray
from msdet.parts import OwnPart
from msdet.simulation.config import SceneConfig
from msdet.simulation.mixture_files import Format
from msdet.simulation.noise_sources import OWN_NOISE, open_recordings
from msdet.simulation.scene import Scene, draw_scene

SCENES_NAME = "scenes.jsonl"
COMPRESSED = ".xz"


def write_scenes(path: Path | str, scenes: Iterable[Scene]) -> None:
    """Write one scene a line; the file appears whole or not at all.

    A path that ends with ``.xz`` is compressed: the same scenes give the same bytes.
    """
    path = Path(path)
    try:
        with replacing(path) as file:
            packing = path.suffix == COMPRESSED
            with lzma.open(file, "wb", preset=9) if packing else nullcontext(file) as rows:
                rows.writelines(row.encode() for row in rows_of(scenes))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def rows_of(scenes: Iterable[Scene]) -> Iterator[str]:
    """The lines of a file of scenes."""
    for scene in scenes:
        yield scene.model_dump_json() + "\n"


def read_scenes(path: Path | str, own: Collection[OwnPart] = ()) -> tuple[Scene, ...]:
    """Read what `write_scenes` wrote, plain or compressed.

    Args:
        own: noise sources of the user's own that its scenes may name.
    Raises:
        InputError: names the file, the line and the key of the first bad row.
    """
    return tuple(scene for *_, scene in _rows(Path(path), own))


def _rows(path: Path, own: Collection[OwnPart]) -> Iterator[tuple[str, int, bytes, Scene]]:
    """The rows of a file that are not blank, of which there must be some.

    Yields:
        The words that name a row in errors, the place where its line begins, the line, the scene.
    """
    with _reading(path) as file:
        start, found = 0, False
        for number, line in enumerate(file, 1):
            if line.strip():
                where, found = f"{path}:{number}", True
                yield where, start, line, parse_scene(where, line.decode(), own)
            start += len(line)
    if not found:
        raise InputError(f"{path}: holds no scenes")


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """The rows of a file of scenes; positions are those of what was compressed."""
    try:
        with cast(BinaryIO, lzma.open(path) if path.suffix == COMPRESSED else path.open("rb")) as f:
            yield f
    except (OSError, UnicodeDecodeError, lzma.LZMAError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as a file of scenes ({reason})") from error


def parse_scene(where: str, line: str, own: Collection[OwnPart] = ()) -> Scene:
    """A scene from a line of a file.

    Args:
        own: as of `read_scenes`: a file alone does not make anything of the reader's import.
    Raises:
        InputError: begins with `where`, and names the key.
    """
    try:
        scene = Scene.model_validate_json(line.removeprefix("\ufeff"))  # editors put a mark there
    except ValidationError as error:
        (first, *_) = error.errors()
        # Of what is no JSON, the whole line would be shown.
        broken = first["type"] == "json_invalid"
        mistake = f"row: {first['msg']}" if broken else first_mistake(error)
        raise InputError(f"{where}: {mistake}") from error
    if mistake := _contradiction(scene, own):
        raise InputError(f"{where}: {mistake}")
    return scene


def _contradiction(scene: Scene, own: Collection[OwnPart]) -> str:
    """Return what in a scene cannot be, with its key; empty where all is well."""
    crops, mics = len(scene.speech), len(scene.array.positions)
    speakers, named = len(scene.room.speakers), [c.speaker for c in scene.speech]
    if not scene.is_conversation and (crops != speakers or any(n is not None for n in named)):
        return f"speech: {crops} crops for {speakers} speakers"
    if (last := max((n for n in named if n is not None), default=0)) >= max(1, speakers):
        return f"speech: a turn of speaker {last}, but the room has {speakers}, counted from 0"
    if scene.reference_mic >= mics:
        return f"reference_mic: {scene.reference_mic}, but the array has {mics} microphones"
    for i, crop in enumerate(scene.speech):
        if (end := crop.onset + crop.length) > scene.num_samples:
            return f"speech.{i}.length: ends at sample {end} of {scene.num_samples}"
    noise = scene.background.recordings_folder if scene.background is not None else None
    if isinstance(noise, OwnPart) and noise not in own:
        command = f"which is not that of this command's {OWN_NOISE}"
        return f"background: is of the noise source {noise.target}, {command}"
    return ""


def check_corpus(scenes: Iterable[Scene], corpus: Corpus) -> None:
    """Refuse to render scenes with another corpus than the one they were drawn from.

    The corpus itself sees to it, when it is opened, that its files are those of its manifest.

    Raises:
        InputError: names the first scene and both corpora, or the utterance that this corpus, or
            this part of it, does not have, and says what to do.
    """
    for scene in scenes:
        if scene.corpus != corpus.fingerprint:
            raise InputError(
                f"scene {scene.id}: drawn from corpus {scene.corpus}, but {corpus.name!r} is "
                f"{corpus.fingerprint}; open the one that the scenes were drawn from (corpus=), or "
                "bring back its files and splits if they were changed since"
            )
        talkers = scene.background.talkers if scene.background is not None else ()
        try:
            for crop in (*scene.speech, *talkers):
                corpus.by_id(crop.utterance)
        except InputError as error:
            raise InputError(
                f"scene {scene.id}: {error}, or from another part of it (the scene is of the split "
                f"{scene.split!r})"
            ) from error


# --- sets of scenes -----------------------------------------------------------------------


@dataclass(frozen=True)
class DrawnScenes:
    """Scenes of epoch 0 by their index, each in a room of its own.

    Attributes:
        corpus: the split's part. seconds: None for mixtures as long as their longest utterance.
        noise: fingerprint of the noise that `config` names, if it names any.
    """

    config: SceneConfig
    array: MicrophoneArray
    corpus: Corpus
    seed: int
    split: Split
    seconds: float | None
    count: int
    noise: str | None = None

    def __len__(self) -> int:
        return self.count

    @property
    def most_speakers(self) -> int:
        """Return the most that a scene may have."""
        return self.config.heard_speakers[1]

    def read(self, indices: Sequence[int]) -> list[Scene]:
        """The scenes of these indices."""
        length = None if self.seconds is None else round(self.seconds * self.corpus.sample_rate)
        given: dict[str, Any] = {"seed": self.seed, "split": self.split, "num_samples": length}
        return [
            draw_scene(self.config, self.array, self.corpus, index=index, **given)
            for index in indices
        ]

    def request(self) -> dict[str, Any]:
        """Return all that shapes the scenes, as plain values."""
        noise = {"recordings": {"fingerprint": self.noise}} if self.noise else {}
        return {
            "seed": self.seed,
            "split": self.split,
            "num_scenes": self.count,
            "seconds": self.seconds,
            "sample_rate": self.corpus.sample_rate,
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
            compressed of it have the same. own: as of `read_scenes`.
    """

    path: Path
    starts: array[int]
    digest: str
    sample_rate: int
    most_speakers: int
    own: tuple[OwnPart, ...] = ()

    def __len__(self) -> int:
        return len(self.starts)

    def read(self, indices: Sequence[int]) -> list[Scene]:
        """The scenes of these lines."""
        scenes = []
        with _reading(self.path) as file:
            for index in indices:
                file.seek(self.starts[index])
                line = file.readline().decode()
                scenes.append(parse_scene(f"{self.path}: scene {index}", line, self.own))
        return scenes

    def request(self) -> dict[str, Any]:
        """Return all that shapes the scenes, as plain values."""
        return {"scenes": self.digest, "num_scenes": len(self), "sample_rate": self.sample_rate}


SceneSet = DrawnScenes | FileScenes


def sample_rate_of(path: Path, own: Collection[OwnPart] = ()) -> int:
    """The sample rate of a file of scenes.

    Raises:
        InputError: its first row is no scene.
    """
    return next(_rows(path, own))[-1].sample_rate


def open_scenes(
    path: Path,
    corpus: Corpus,
    format: Format,
    count: int | None = None,
    own: tuple[OwnPart, ...] = (),
) -> FileScenes:
    """See that the scenes of a file can be rendered, and where each one stands.

    Args:
        count: how many of the first to take; None takes all. own: as of `read_scenes`.
    Raises:
        InputError: names the first row that is no scene, of another corpus or sample rate, or
            whose id cannot name a file or came before; or the file has fewer than ``count``.
    """
    starts, most, digest = array("q"), 0, hashlib.sha256()
    ids: set[str] = set()
    for where, start, line, scene in islice(_rows(path, own), count):
        digest.update(line)
        try:
            _check_scene(scene, corpus, format)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if scene.id in ids:
            raise InputError(f"{where}: id {scene.id!r} comes twice; ids name the files")
        ids.add(scene.id)
        starts.append(start)
        most = max(most, len(scene.heard))
    if count is not None and len(starts) < count:
        raise InputError(
            f"num_scenes={count}: {path} has {len(starts)} scenes; give at most as many"
        )
    return FileScenes(path, starts, digest.hexdigest(), corpus.sample_rate, most, own)


def _check_scene(scene: Scene, corpus: Corpus, format: Format) -> None:
    """Refuse a scene that this corpus or its noise was not made for, or whose id names no file."""
    if scene.sample_rate != corpus.sample_rate:
        raise InputError(
            f"sample_rate: {scene.sample_rate}, but that of the first scene is "
            f"{corpus.sample_rate}; render them apart"
        )
    check_corpus([scene], corpus)
    # WebDataset takes what stands before the first dot for the name of a mixture.
    refused = "/\\:\0\n" + ("." if format == "tar" else "")
    if not scene.id or scene.id.startswith(".") or set(scene.id) & set(refused):
        raise InputError(
            f"scene id {scene.id!r}: cannot name files of format={format} "
            f"(no {' '.join(c for c in refused if c.isprintable())}, no dot at the start)"
        )
    background = scene.background
    if background is not None and background.recordings_folder is not None:
        recordings = open_recordings(background.recordings_folder, scene.sample_rate)
        if recordings.fingerprint != background.recordings_fingerprint:
            raise InputError(
                f"background: {recordings.key} holds other recordings "
                f"({recordings.fingerprint}) than the scene was drawn with "
                f"({background.recordings_fingerprint})"
            )
