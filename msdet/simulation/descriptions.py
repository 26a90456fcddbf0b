# SPDX-License-Identifier: Apache-2.0
"""Descriptions of scenes made elsewhere: JSON files of positions and file names, in msdet's own
words or in those of SMS-WSJ, are read and checked. docs/simulation_import.md has the keys."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msdet.corpora import Split
from msdet.corpora.listing import read_header
from msdet.errors import InputError, first_mistake, naming
from msdet.simulation.config import MOST_DECIBELS, MOST_SPEAKERS

# Strict: a number in quotes is refused, not guessed.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Decibels = Annotated[Number, Field(ge=-MOST_DECIBELS, le=MOST_DECIBELS)]
Count = Annotated[int, Field(strict=True, ge=0)]
Point = tuple[Number, Number, Number]
Name = Annotated[str, Field(min_length=1)]

SMS_WSJ_SETS: dict[Split, str] = {
    "train": "train_si284",
    "valid": "cv_dev93",
    "test": "test_eval92",
}
"""SMS-WSJ's data sets, by what they are for."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class DescribedSpeaker(_Record):
    """Who speaks, from where, and what.

    Attributes:
        position: metres in the room.
        file: audio file, relative to the description's folder.
        speaker: who it is; None for somebody who is in no other file.
        offset_seconds: into the file. onset_seconds: into the scene.
        seconds: how long; None: up to the end of the file or of the scene.
        level_db: of the reverberant speech at the reference microphone; differences count.
    """

    position: Point
    file: Name
    speaker: Name | None = None
    offset_seconds: NotNegative = 0.0
    onset_seconds: NotNegative = 0.0
    seconds: Positive | None = None
    level_db: Decibels = 0.0


class SceneDescription(_Record):
    """One mixture.

    Attributes:
        room_size, microphones: metres; the room reaches from (0, 0, 0) to its size.
        t60: seconds; 0 for no walls at all.
        id: names a folder, and in tar files of examples a dot ends it.
        array_rotation: of the array's x axis from the room's, degrees.
        seconds: length; None ends the scene with its last speech.
    """

    id: str = Field(pattern=r"^[\w-]{1,120}$")
    room_size: tuple[Positive, Positive, Positive]
    t60: NotNegative
    microphones: tuple[Point, ...] = Field(min_length=2)
    speakers: tuple[DescribedSpeaker, ...] = Field(min_length=2, max_length=MOST_SPEAKERS)
    array_rotation: Number = 0.0
    snr_db: Decibels = MOST_DECIBELS
    seconds: Positive | None = None
    reference_mic: Count = 0
    target: Literal["direct", "early", "image"] = "direct"


def read_descriptions(
    path: Path, split: Split, defaults: dict[str, Any]
) -> Iterator[tuple[str, SceneDescription]]:
    """The scenes of a file, and for each the words that name it in an error.

    Args:
        split: which data set of an SMS-WSJ file; other files are of one split.
        defaults: of the keys that a scene leaves out.
    Raises:
        InputError: names the file, the scene's number (from 1) and id, and the first wrong key.
    """
    ids: dict[str, int] = {}
    for number, (key, record) in enumerate(_records(path, split), start=1):
        where = f"{path}: scene {number}"
        if not isinstance(record, dict):
            shown = json.dumps(record)[:60]
            raise InputError(f"{where}: expected an object with keys, got {shown}")
        names = (key, record.get("id"), record.get("example_id"), f"scene-{number:06d}")
        id = str(next(name for name in names if name is not None))
        where += f" ({id!r})"
        with naming(where):
            if "sensor_position" in record or "room_dimensions" in record:
                record = _from_sms_wsj(record, path.parent)
            given = {key: value for key, value in record.items() if value is not None}
            try:
                description = SceneDescription.model_validate(defaults | given | {"id": id})
            except ValidationError as error:
                raise InputError(first_mistake(error)) from error
            if id in ids:
                raise InputError(f"scene {ids[id]} has this id too; ids must be different")
        ids[id] = number
        yield where, description


def audio_file(folder: Path, name: str) -> Path:
    """Return the path of a file that a description names; it must be there."""
    path = folder / Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'the file is missing'}")
    return path


def _records(path: Path, split: Split) -> list[tuple[str | None, Any]]:
    """Scenes as they stand in the file, each with the key that it stands under, if any."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path}: not JSON ({error.msg}, {place})") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as JSON ({reason})") from error
    sets = content.get("datasets") if isinstance(content, dict) else None
    found = content.get("scenes") if isinstance(content, dict) else content
    if isinstance(sets, dict):
        found = sets.get(SMS_WSJ_SETS[split])
        if not isinstance(found, dict):
            raise InputError(
                f"{path}: datasets: split={split} is SMS-WSJ's {SMS_WSJ_SETS[split]!r}, there are "
                f"{', '.join(sets) or 'none'}"
            )
        return list(found.items())
    if not isinstance(found, list):
        raise InputError(
            f'{path}: expected a list of scenes, {{"scenes": [...]}} or SMS-WSJ\'s '
            f'{{"datasets": {{...}}}}, got {json.dumps(content)[:60]}'
        )
    if not found:
        raise InputError(f"{path}: holds no scenes")
    return [(None, record) for record in found]


# --- SMS-WSJ ------------------------------------------------------------------------------


def _from_sms_wsj(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An example of SMS-WSJ (Drude et al. 2019, arXiv 1910.13934), whose README has the keys, in
    msdet's words. Offsets are samples at the rate of the speech files; other keys are left alone.
    """
    try:
        files = list(record["audio_path"]["original_source"])
        columns = {
            "source_position": list(zip(*record["source_position"], strict=True)),
            **{key: list(record[key]) for key in ("speaker_id", "offset", "log_weights")},
            "audio_path.original_source": files,
        }
        for key, values in columns.items():
            if len(values) != len(files):
                raise InputError(f"{key}: is of {len(values)} speakers, the files of {len(files)}")
        headers = [read_header(audio_file(folder, str(file))) for file in files]
        rates = sorted({rate for _, rate in headers})
        if len(rates) > 1:
            raise InputError(
                f"audio_path.original_source: sample rates {', '.join(map(str, rates))}; offset is "
                "in samples of one"
            )
        length = (record.get("num_samples") or {}).get("observation")
        speakers = [
            {
                "position": position,
                "speaker": speaker,
                "onset_seconds": offset / rates[0],
                # Theirs are levels over the whole mixture, ours where a speaker speaks.
                "level_db": weight - 10.0 * math.log10(max(duration, 1.0 / rates[0])),
                "file": file,
            }
            for (duration, _), (position, speaker, offset, weight, file) in zip(
                headers, zip(*columns.values(), strict=True), strict=True
            )
        ]
        size = [x[0] if isinstance(x, list) else x for x in record["room_dimensions"]]
        return {
            "room_size": size,
            "t60": record["sound_decay_time"],
            "microphones": list(zip(*record["sensor_position"], strict=True)),
            "speakers": speakers,
            "snr_db": record.get("snr"),
            "seconds": length / rates[0] if length else None,
        }
    except KeyError as error:
        raise InputError(f"has no {error}, which SMS-WSJ's examples have") from error
    except InputError:
        raise
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"is not as SMS-WSJ's examples are ({error})") from error
