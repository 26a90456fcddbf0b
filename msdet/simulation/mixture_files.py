# SPDX-License-Identifier: Apache-2.0
"""The files of one mixture: audio and labels, written and read back to the bit.

::

    mixture.wav                   all microphones, 32-bit float
    speaker1.wav ...              targets at the reference microphone, 32-bit float
    speaker1.mic2.wav ...         on request, those at microphone 2, counted from 0
    labels.json                   what is known about the mixture and its speakers

They lie in ``audio/ID/``, or as members ``ID.mixture.wav``, ..., ``ID.json`` of an archive
``shards/shard-000000.tar``, as WebDataset reads them.

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
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from msdet.corpora import Corpus
from msdet.simulation.render import AtMicrophone, Example, directions
from msdet.simulation.rooms import Room, channel_order, other_references
from msdet.simulation.scene import Scene

Format = Literal["folder", "tar"]
TargetsAt = Literal["reference", "symmetric"]
"""Microphones whose targets are kept: the reference, or all that may become it."""

MIXTURE_NAME = "mixture.wav"
LABELS_NAME = "labels.json"
FOLDERS = {"folder": "audio", "tar": "shards"}
"""The place of the audio of each format within the output folder."""

_SCALE, _PEAK = 1 / 16, 0.9
"""Files have an RMS of -24 dB, as loud as speech is on recordings, and peaks of at most this."""


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


def target_mics(scene: Scene, targets_at: TargetsAt) -> tuple[int, ...]:
    """Microphones besides the reference at which targets of a scene are kept.

    None of an array that is not quite as planned: it has no symmetry.
    """
    if targets_at == "reference" or not is_symmetric(scene):
        return ()
    return other_references(scene.microphone_array(), scene.reference_mic)


def is_symmetric(scene: Scene) -> bool:
    """Return whether the microphones of a scene are alike and stand where they were planned."""
    return scene.mismatch is None and not scene.room.mic_errors


def member_name(id: str, name: str) -> str:
    """Name in an archive: what stands before the first dot tells which mixture it belongs to."""
    return f"{id}.json" if name == LABELS_NAME else f"{id}.{name}"


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
    checksums[LABELS_NAME] = _checksum(json.dumps(content).encode())  # not of its layout
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return {**audio, LABELS_NAME: text.encode()}


def parse_labels(content: bytes) -> dict[str, Any]:
    """Labels, which must be what was written; ``checksums`` are those of the other files.

    Raises:
        ValueError: they were changed.
    """
    found: dict[str, Any] = json.loads(content)
    checksums = found.get("checksums") if isinstance(found, dict) else None
    if not isinstance(checksums, dict):
        raise ValueError(f"{LABELS_NAME} holds no checksums")
    if checksums.pop(LABELS_NAME, None) != _checksum(json.dumps(found).encode()):
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


def scale_of(example: Example) -> float:
    """Return the factor of samples where they are written: a power of two, the same for nearly all
    mixtures, less where one of its files would reach full scale."""
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
    """Return ``labels.json``: metres, seconds, degrees in the array's frame, decibels.

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
    """The part of the labels that is about further microphones."""
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


# --- reading ------------------------------------------------------------------------------


def read_example(read: Callable[[str], bytes], pose: Callable[[Scene], Room]) -> Example:
    """Read an example from the files of a mixture, as its array hears it in a pose.

    Args:
        read: gives a file's content by its name; of the targets those that are
            needed are asked for.
        pose: from the scene to its room, with the array turned by one of its symmetries. It is
            asked where targets are stored for all of these.
    Raises:
        ValueError, KeyError, TypeError: the files are not what was written.
    """
    labels = parse_labels(read(LABELS_NAME))
    scene = Scene.model_validate(labels["scene"])
    heard = {entry["mic"]: entry for entry in labels.get("other_references", ())}
    room = pose(scene) if may_be_turned(scene, heard) else scene.room
    mic = channel_order(scene.room, room, scene.microphone_array())[scene.reference_mic]
    other = None if mic == scene.reference_mic else mic
    wanted = [MIXTURE_NAME, *(speaker_file(i, other) for i in range(len(scene.speech)))]
    audio = {name: read(name) for name in wanted}
    check_files(labels, audio)
    example = _example(labels, scene, [_decoded(wav) for wav in audio.values()])
    if room == scene.room:
        return example
    if other is None:
        return turned(example, room)
    levels = tuple(speaker["level_db"] for speaker in heard[mic]["speakers"])
    snr_db, background = heard[mic]["snr_db"], heard[mic]["background_snr_db"]
    drr_db = _drr(heard[mic]["speakers"])
    return turned(example, room, AtMicrophone(example.targets, drr_db, levels, snr_db, background))


def may_be_turned(scene: Scene, others: Collection[int]) -> bool:
    """Return whether targets at the reference and these suffice for all symmetries of a scene."""
    wanted = other_references(scene.microphone_array(), scene.reference_mic)
    return is_symmetric(scene) and set(wanted) <= set(others)


def _example(
    labels: dict[str, Any], scene: Scene, signals: Sequence[NDArray[np.float32]]
) -> Example:
    mixture, *targets = signals
    for signal, channels in zip(
        signals, (len(scene.array.positions), *[1] * len(targets)), strict=True
    ):
        if signal.shape != (channels, scene.num_samples):
            raise ValueError(f"audio is {signal.shape}, expected {(channels, scene.num_samples)}")
        if not np.isfinite(signal).all():
            raise ValueError("audio holds values that are no numbers")
    scale = labels["scale"]
    return Example(
        mixture=mixture / np.float32(scale),
        targets=np.concatenate(targets) / np.float32(scale),
        **directions(scene.room),
        drr_db=_drr(labels["speakers"]),
        t60=labels["t60_measured"] or 0.0,
        gain=labels["gain"] / scale,
        scene=scene,
    )


def _drr(speakers: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
    """Direct-to-reverberant ratios ``[speaker]``; JSON has no infinity."""
    return np.array([np.inf if s["drr_db"] is None else s["drr_db"] for s in speakers], np.float32)


def _decoded(wav: bytes) -> NDArray[np.float32]:
    """``[channel, sample]``."""
    import soundfile

    audio, _ = soundfile.read(BytesIO(wav), dtype="float32", always_2d=True)
    return np.ascontiguousarray(audio.T)


def turned(example: Example, room: Room, heard: AtMicrophone | None = None) -> Example:
    """Turn an example to another pose of its array, which only reads channels anew.

    Turned by a symmetry, an array hears with microphone m what microphone ``permutation[m]`` heard
    before. So the reference is another microphone, whose targets must have been rendered too.

    Args:
        room: that of its scene, with the array turned by one of its symmetries.
        heard: what is known of the microphone that becomes the reference; None: it stays.
    Returns:
        What `render` makes of its scene, but for the noise that microphones or a diffuse field
        have: that is turned here, and drawn again there.
    """
    scene, reference = example.scene, example.scene.reference_mic
    mixture = example.mixture[list(channel_order(scene.room, room, scene.microphone_array()))]
    power = float(np.mean(np.square(mixture[reference], dtype=np.float64)))
    gain = 1 / math.sqrt(power) if power > 0 else 1.0
    changes: dict[str, Any] = {"room": room}
    if heard is not None:  # levels are those at the reference, a little different at any other
        changes["speech"] = tuple(
            crop.model_copy(update={"level_db": level})
            for crop, level in zip(scene.speech, heard.level_db, strict=True)
        )
        changes["noise"] = scene.noise.model_copy(update={"snr_db": heard.snr_db})
        if scene.background is not None:
            snr_db = {"snr_db": heard.background_snr_db}
            changes["background"] = scene.background.model_copy(update=snr_db)
    return replace(
        example,
        mixture=mixture * np.float32(gain),
        targets=(heard or example).targets * np.float32(gain),
        azimuth=np.array([s.azimuth for s in room.speakers], np.float32),
        drr_db=(heard or example).drr_db,
        gain=example.gain * gain,
        scene=scene.model_copy(update=changes),
        others={},
    )
