# SPDX-License-Identifier: Apache-2.0
"""Files of scenes: one scene a line, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from msdet.corpora import Corpus
from msdet.errors import InputError, first_mistake
from msdet.files import write_atomically
from msdet.simulation.scene import Scene

SCENES_NAME = "scenes.jsonl"


def write_scenes(path: Path | str, scenes: Iterable[Scene]) -> None:
    """One scene a line; the file appears whole or not at all."""
    try:
        write_atomically(Path(path), rows_of(scenes))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


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
    """Read what `write_scenes` wrote.

    Raises:
        InputError: names the file, the line and the key of the first bad row.
    """
    path = Path(path)
    try:
        lines = lines_of(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
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
        scene = Scene.model_validate_json(line)
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
    """Refuse to render scenes with another corpus than the one they were drawn from."""
    for scene in scenes:
        if scene.corpus != corpus.fingerprint:
            raise InputError(
                f"scene {scene.id}: drawn from corpus {scene.corpus}, but {corpus.name!r} is "
                f"{corpus.fingerprint}; open the one that the scenes were drawn from"
            )
