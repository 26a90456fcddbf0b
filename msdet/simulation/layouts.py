# SPDX-License-Identifier: Apache-2.0
"""How mixtures lie on disk: a folder each, or many in a tar archive as WebDataset reads them.

::

    audio/ID/mixture.wav                   all microphones, 32-bit float
    audio/ID/speaker1.wav ...              targets at the reference microphone, 32-bit float
    audio/ID/speaker1.mic2.wav ...         on request, those at microphone 2, counted from 0
    audio/ID/labels.json                   what is known about the mixture and its speakers

    shards/shard-000000.tar                members ID.mixture.wav, ID.speaker1.wav, ..., ID.json

Samples can be played: they are those that training and evaluation see, whose reference microphone
has an RMS of 1, times ``scale`` of the labels, a power of two, so that dividing by it brings them
back to the bit. Divided by ``gain``, the first speaker's image is the recording through the room's
response, whose direct path is 1/distance (6 dB below the recording at 2 m); the other speakers are
at their ``level_db`` relative to it.
The same scene gives the same bytes: nothing here holds a time or a name of a user.
"""

from __future__ import annotations

import json
import math
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.files import replacing
from msdet.simulation.render import Example
from msdet.simulation.scene import Scene
from msdet.simulation.symmetry import TargetsAt, is_symmetric, other_references

Format = Literal["folder", "tar"]
Render = Callable[[Scene], Example]

MIXTURE_NAME = "mixture.wav"
LABELS_NAME = "labels.json"
FOLDERS = {"folder": "audio", "tar": "shards"}
"""Where the audio of each format lies within the output folder."""

_SCALE, _PEAK = 1 / 16, 0.9
"""Of what is written: an RMS of -24 dB, as loud as speech is on recordings, and peaks of at most
this."""


def shard_name(shard: int) -> str:
    """The stem of a shard's files."""
    return f"shard-{shard:06d}"


def tar_path(output: Path, shard: int) -> Path:
    """A shard's archive."""
    return output / FOLDERS["tar"] / f"{shard_name(shard)}.tar"


def speaker_file(speaker: int, mic: int | None = None) -> str:
    """Name of the file of a speaker's target, counted from 0; names count from 1.

    Args:
        mic: where it is heard, as the name has it, from 0; None for the reference.
    """
    return f"speaker{speaker + 1}.wav" if mic is None else f"speaker{speaker + 1}.mic{mic}.wav"


def file_names(num_speakers: int, others: Sequence[int] = ()) -> list[str]:
    """The files of a mixture, in the order in which they are written.

    Args:
        others: microphones, besides the reference, at which there are targets.
    """
    targets = [speaker_file(i, mic) for mic in (None, *others) for i in range(num_speakers)]
    return [MIXTURE_NAME, *targets, LABELS_NAME]


def scene_files(scene: Scene, targets_at: TargetsAt) -> list[str]:
    """The files that a scene gets."""
    return file_names(len(scene.speech), target_mics(scene, targets_at))


def target_mics(scene: Scene, targets_at: TargetsAt) -> tuple[int, ...]:
    """The microphones besides the reference at which targets of a scene are kept.

    None of an array that is not quite as planned: it has no symmetry.
    """
    if targets_at == "reference" or not is_symmetric(scene):
        return ()
    return other_references(scene.microphone_array(), scene.reference_mic)


def member_name(id: str, name: str) -> str:
    """Name in an archive: what stands before the first dot tells which mixture it belongs to."""
    return f"{id}.json" if name == LABELS_NAME else f"{id}.{name}"


def path_within(format: Format, shard: int, id: str, name: str) -> str:
    """Where a file of a mixture is, relative to the output folder; archives read as folders."""
    if format == "tar":
        return f"{FOLDERS['tar']}/{shard_name(shard)}.tar/{member_name(id, name)}"
    return f"{FOLDERS['folder']}/{id}/{name}"


# --- the files of one mixture -------------------------------------------------------------


def files(example: Example, corpus: Corpus) -> dict[str, bytes]:
    """Names and contents of a mixture's files; the labels hold checksums of all of them."""
    signals = {
        MIXTURE_NAME: example.mixture,
        **{speaker_file(i): target for i, target in enumerate(example.targets)},
        **{
            speaker_file(i, mic): target
            for mic, heard in example.others.items()
            for i, target in enumerate(heard.targets)
        },
    }
    scale = scale_of(example)
    rate = example.scene.sample_rate
    audio = {name: wav(signal * np.float32(scale), rate) for name, signal in signals.items()}
    checksums = {name: _checksum(content) for name, content in audio.items()}
    content = {**labels(example, corpus, scale), "checksums": checksums}
    checksums[LABELS_NAME] = _checksum_of_labels(content)
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return {**audio, LABELS_NAME: text.encode()}


def read_labels(contents: Mapping[str, bytes]) -> dict[str, Any]:
    """The labels among a mixture's files, which must be those that were written.

    Raises:
        ValueError: names the file that was changed.
    """
    found = parse_labels(contents[LABELS_NAME])
    check_files(found, {name: c for name, c in contents.items() if name != LABELS_NAME})
    return found


def parse_labels(content: bytes) -> dict[str, Any]:
    """Labels, which must be what was written; ``checksums`` are those of the other files.

    Raises:
        ValueError: they were changed.
    """
    found: dict[str, Any] = json.loads(content)
    checksums = found.get("checksums") if isinstance(found, dict) else None
    if not isinstance(checksums, dict):
        raise ValueError(f"{LABELS_NAME} holds no checksums")
    if checksums.pop(LABELS_NAME, None) != _checksum_of_labels(found):
        raise ValueError(f"{LABELS_NAME} was changed, its checksum differs")
    return found


def check_files(labels: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
    """See that files are those that labels are about.

    Raises:
        ValueError: names the file that was changed.
    """
    for name, content in contents.items():
        if labels["checksums"].get(name) != _checksum(content):
            raise ValueError(f"{name} was changed, its checksum differs")


def _checksum(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


def _checksum_of_labels(content: dict[str, Any]) -> str:
    """Of what they say, without this checksum; how they are laid out does not matter."""
    return _checksum(json.dumps(content).encode())


def scale_of(example: Example) -> float:
    """What samples are multiplied by where they are written: a power of two, the same for nearly
    all mixtures, less where one of its files would reach full scale."""
    signals = (example.mixture, example.targets, *(h.targets for h in example.others.values()))
    peak = max(float(np.abs(signal).max()) for signal in signals)
    return min(_SCALE, 2.0 ** math.floor(math.log2(_PEAK / max(peak, _PEAK))))


def wav(audio: NDArray[np.float32], sample_rate: int) -> bytes:
    """``[sample]`` or ``[channel, sample]`` as a 32-bit float WAV.

    By scipy: libsndfile writes the time into such files, so that no two would be alike.
    """
    buffer = BytesIO()
    wavfile.write(buffer, sample_rate, np.asarray(audio, "<f4").T)
    return buffer.getvalue()


def labels(example: Example, corpus: Corpus, scale: float) -> dict[str, Any]:
    """What ``labels.json`` holds: metres, seconds, degrees in the array's frame, decibels.

    ``scale`` and ``gain`` are of the samples in the files: what a mixture of RMS 1, and the speech
    as it is in the room, was multiplied by.
    ``t60_measured`` is null where the responses show no decay (an anechoic room), ``background``
    where there is none; ``scene`` is the row of ``scenes.jsonl``. ``other_references`` is there
    where targets of other microphones are: what belongs to each of these. `files` adds
    ``checksums``: CRC-32 of each file, of the labels that of what they say.
    """
    scene = example.scene
    room, background = scene.room, scene.background
    others = {"other_references": _others(example)} if example.others else {}
    return {
        "id": scene.id,
        "split": scene.split,
        "sample_rate": scene.sample_rate,
        "num_samples": scene.num_samples,
        "mixture": MIXTURE_NAME,
        "scale": scale,
        "gain": scale * example.gain,
        "target": scene.target,
        "reference_mic": scene.reference_mic,
        "array": scene.array.model_dump(mode="json"),
        "room": {
            "size": room.size,
            "array_centre": room.array_centre,
            "array_rotation": room.array_rotation,
        },
        "t60_asked": room.t60,
        "t60_measured": example.t60 or None,
        "snr_db": scene.noise.snr_db,
        "background": background and {"kind": background.kind, "snr_db": background.snr_db},
        "corpus": {"name": corpus.name, "fingerprint": scene.corpus},
        "speakers": [
            {
                "file": speaker_file(i),
                "azimuth": placement.azimuth,
                "elevation": placement.elevation,
                "distance": placement.distance,
                "position": placement.position,
                "drr_db": _finite(float(example.drr_db[i])),
                "level_db": crop.level_db,
                "speaker": corpus.by_id(crop.utterance).speaker,
                "utterance": crop.utterance,
                "offset": crop.offset,
                "onset": crop.onset,
                "length": crop.length,
            }
            for i, (placement, crop) in enumerate(zip(room.speakers, scene.speech, strict=True))
        ],
        **others,
        "scene": scene.model_dump(mode="json"),
    }


def _others(example: Example) -> list[dict[str, Any]]:
    """What the labels say of further microphones."""
    return [
        {
            "mic": mic,
            "snr_db": heard.snr_db,
            "background_snr_db": heard.background_snr_db,
            "speakers": [
                {"file": speaker_file(i, mic), "drr_db": _finite(float(drr)), "level_db": level}
                for i, (drr, level) in enumerate(zip(heard.drr_db, heard.level_db, strict=True))
            ],
        }
        for mic, heard in example.others.items()
    ]


def _finite(value: float) -> float | None:
    """JSON has no infinity, which is the direct-to-reverberant ratio of a room without walls."""
    return value if np.isfinite(value) else None


# --- the mixtures of one shard ------------------------------------------------------------


def write_folders(
    output: Path,
    attempt: Path,
    scenes: Iterable[Scene],
    render: Render,
    corpus: Corpus,
    targets_at: TargetsAt = "reference",
) -> None:
    """A folder for each scene; it gets its name when all of its files are there.

    Folders that are there stay, unless a file in them is damaged or gone.

    Args:
        attempt: folder for what is not whole yet, on the same disk.
        targets_at: what `render` gives.
    """
    audio = output / FOLDERS["folder"]
    audio.mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        folder = audio / scene.id
        if _is_whole(folder, scene_files(scene, targets_at)):
            continue
        temporary = attempt / scene.id
        contents = files(render(scene), corpus)
        with _naming(folder):
            temporary.mkdir()
            for name, content in contents.items():
                (temporary / name).write_bytes(content)
        with suppress(FileNotFoundError):  # most often there is none
            folder.rename(attempt / f"{scene.id}.damaged")
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was quicker with the same scene
                raise


def _is_whole(folder: Path, names: Iterable[str]) -> bool:
    try:
        read_labels({name: (folder / name).read_bytes() for name in names})
    except (OSError, ValueError):
        return False
    return True


def write_tar(
    path: Path, attempt: Path, scenes: Iterable[Scene], render: Render, corpus: Corpus
) -> None:
    """An archive of all scenes of a shard, in their order; it gets its name when it is whole.

    Args:
        attempt: folder for what is not whole yet, on the same disk.
    """
    with (
        replacing(path, attempt) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for scene in scenes:
            for name, content in files(render(scene), corpus).items():
                member = tarfile.TarInfo(member_name(scene.id, name))  # time and owner: 0
                member.size = len(content)
                archive.addfile(member, BytesIO(content))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of a disk name what was to be written, and not the name that it has meanwhile."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def check_id(id: str, format: Format) -> None:
    """Refuse ids that cannot be names of files, or of members that WebDataset tells apart."""
    refused = "/\\:\0\n" + ("." if format == "tar" else "")
    if not id or id.startswith(".") or any(character in id for character in refused):
        raise InputError(
            f"scene id {id!r}: cannot name files of format={format} "
            f"(no {' '.join(c for c in refused if c.isprintable())}, no dot at the start)"
        )
