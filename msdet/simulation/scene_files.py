# SPDX-License-Identifier: Apache-2.0
"""Files of scenes: one scene a line, as JSON; those named ``.xz`` are compressed."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pydantic import ValidationError

from msdet.corpora import Corpus
from msdet.errors import InputError, first_mistake
from msdet.files import replacing
from msdet.simulation.scene import Scene
from msdet.simulation.speech import SpeechCrop

SCENES_NAME = "scenes.jsonl"
COMPRESSED = ".xz"
UNREADABLE = (OSError, UnicodeDecodeError, lzma.LZMAError, EOFError)
"""What reading a file of scenes raises where it is missing, damaged or something else."""


def write_scenes(path: Path | str, scenes: Iterable[Scene]) -> None:
    """One scene a line; the file appears whole or not at all.

    A path that ends with ``.xz`` is compressed: the same scenes give the same bytes.
    """
    path = Path(path)
    try:
        with replacing(path) as file, _compressing(file, path) as rows:
            for row in rows_of(scenes):
                rows.write(row.encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def open_rows(path: Path) -> BinaryIO:
    """A file of scenes to read, as bytes; positions in it are those of what was compressed.

    Reading raises OSError, or `lzma.LZMAError` or EOFError where what is compressed is damaged.
    """
    if path.suffix == COMPRESSED:
        return cast(BinaryIO, lzma.open(path))
    return path.open("rb")


def rows_of(scenes: Iterable[Scene]) -> Iterator[str]:
    """The lines of a file of scenes."""
    for scene in scenes:
        yield scene.model_dump_json() + "\n"


def lines_of(text: str) -> list[str]:
    """The lines of a file of JSON rows.

    Not `splitlines`: it also parts at U+2028 and other characters that ids may hold.
    """
    return text.split("\n")


def read_scenes(path: Path | str) -> tuple[Scene, ...]:
    """Read what `write_scenes` wrote, plain or compressed.

    Raises:
        InputError: names the file, the line and the key of the first bad row.
    """
    path = Path(path)
    try:
        with open_rows(path) as file:
            lines = lines_of(file.read().decode())
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as a file of scenes ({reason})") from error
    scenes = tuple(
        parse_scene(f"{path}:{n}", line) for n, line in enumerate(lines, 1) if line.strip()
    )
    if not scenes:
        raise InputError(f"{path}: holds no scenes")
    return scenes


def parse_scene(where: str, line: str) -> Scene:
    """A scene from a line of a file.

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
    if len(scene.speech) != len(scene.room.speakers):
        raise InputError(
            f"{where}: speech: {len(scene.speech)} crops for {len(scene.room.speakers)} speakers"
        )
    if scene.reference_mic >= len(scene.array.positions):
        raise InputError(
            f"{where}: reference_mic: {scene.reference_mic}, but the array has "
            f"{len(scene.array.positions)} microphones"
        )
    for i, crop in enumerate(scene.speech):
        if crop.onset + crop.length > scene.num_samples:
            raise InputError(
                f"{where}: speech.{i}.length: ends at sample {crop.onset + crop.length} of "
                f"{scene.num_samples}"
            )
    return scene


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
        for crop in (*scene.speech, *talkers):
            _check_crop(scene, crop, corpus)


def _check_crop(scene: Scene, crop: SpeechCrop, corpus: Corpus) -> None:
    try:
        corpus.by_id(crop.utterance)
    except InputError as error:
        raise InputError(
            f"scene {scene.id}: {error}, or from another part of it (the scene is of the split "
            f"{scene.split!r})"
        ) from error


@contextmanager
def _compressing(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """What to write to for a path: the file, or what compresses into it."""
    if path.suffix != COMPRESSED:
        yield file
        return
    with lzma.open(file, "wb", preset=9) as compressed:
        yield cast(BinaryIO, compressed)
