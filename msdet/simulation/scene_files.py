# SPDX-License-Identifier: Apache-2.0
"""Files of scenes: one scene a line, as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.simulation.scene import Scene


def write_scenes(path: Path | str, scenes: Iterable[Scene]) -> None:
    """One scene a line, written to a temporary name and renamed."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(scene.model_dump_json() + "\n" for scene in scenes)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def read_scenes(path: Path | str) -> tuple[Scene, ...]:
    """Read what `write_scenes` wrote.

    Raises:
        InputError: names the file, the line and the key of the first bad row.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
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
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        got = (
            ""
            if first["type"] in ("missing", "json_invalid")
            else f", got {json.dumps(first['input'], default=str)[:60]}"
        )
        raise InputError(f"{where}: {key or 'row'}: {first['msg']}{got}") from error
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
