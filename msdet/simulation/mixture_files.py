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
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from io import BytesIO
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from msdet.corpora import Corpus
from msdet.moments import TRACK_SECONDS
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

_CROP = ("utterance", "offset", "onset", "length")
_PLACEMENT = ("azimuth", "elevation", "distance", "position")
_SCALE, _PEAK = 1 / 16, 0.9
"""Files have an RMS of -24 dB, as loud as speech is on recordings, and peaks of at most this."""


def speaker_file(speaker: int, mic: int | None = None) -> str:
    """Name of the file of a speaker's target, counted from 0; names count from 1.

    Args:
        mic: where it is heard, as the name has it, from 0; None for the reference.
    """
    return f"speaker{speaker + 1}.wav" if mic is None else f"speaker{speaker + 1}.mic{mic}.wav"


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


def signals_of(example: Example) -> dict[str, NDArray[np.float32]]:
    """The signals of an example, in the order of their files, by the names of these."""
    targets = [(None, example.targets), *((mic, h.targets) for mic, h in example.others.items())]
    named = {speaker_file(i, mic): target for mic, at in targets for i, target in enumerate(at)}
    return {MIXTURE_NAME: example.mixture, **named}


def files(example: Example, corpus: Corpus) -> dict[str, bytes]:
    """Names and contents of a mixture's files; the labels hold checksums of all of them."""
    scale, rate = scale_of(example), example.scene.sample_rate
    signals = signals_of(example)
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


def read_files(
    read: Callable[[str], bytes], labels: Mapping[str, Any], names: Iterable[str]
) -> dict[str, bytes]:
    """Read files that labels are about.

    Raises:
        ValueError: names the file that was changed.
    """
    contents = {name: read(name) for name in names}
    for name, content in contents.items():
        if labels["checksums"].get(name) != _checksum(content):
            raise ValueError(f"{name} was changed, its checksum differs")
    return contents


def _checksum(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


def scale_of(example: Example) -> float:
    """Return the factor of samples where they are written: a power of two, the same for nearly all
    mixtures, less where one of its files would reach full scale."""
    peak = max(float(np.abs(signal).max()) for signal in signals_of(example).values())
    return min(_SCALE, 2.0 ** math.floor(math.log2(_PEAK / max(peak, _PEAK))))


def wav(audio: NDArray[np.float32], sample_rate: int) -> bytes:
    """``[sample]`` or ``[channel, sample]`` as a 32-bit float WAV.

    By scipy: libsndfile writes the time into such files, so that no two would be alike.
    """
    buffer = BytesIO()
    scipy.io.wavfile.write(buffer, sample_rate, np.asarray(audio, "<f4").T)
    return buffer.getvalue()


def labels(example: Example, corpus: Corpus, scale: float) -> dict[str, Any]:
    """Return ``labels.json``: metres, seconds, degrees in the array's frame, decibels.

    ``scale`` and ``gain`` are of the samples in the files: what a mixture of RMS 1, and the speech
    as it is in the room, was multiplied by.
    ``t60_measured`` is null where the responses show no decay (an anechoic room), ``background``
    where there is none; ``scene`` is the row of ``scenes.jsonl``. ``other_references`` is there
    where targets of other microphones are: what belongs to each of these. ``speakers`` are those
    who are heard, with the seconds in which they are (``activity``, see `Example`), and either the
    stretch of an utterance that they say or, in a conversation, their ``turns``. Who walks has a
    ``track``, the seconds, azimuths and distances of every tenth of a second; their other labels
    are those of the scene's start. `files` adds ``checksums``: CRC-32 of each file, of the labels
    that of what they say.
    """
    scene = example.scene
    room, background = scene.room, scene.background
    others = [
        {
            "mic": mic,
            "snr_db": heard.snr_db,
            "background_snr_db": heard.background_snr_db,
            "speakers": [
                {"file": speaker_file(i, mic), "drr_db": _finite(drr), "level_db": level}
                for i, (drr, level) in enumerate(zip(heard.drr_db, heard.level_db, strict=True))
            ],
        }
        for mic, heard in example.others.items()
    ]
    return {
        **{key: getattr(scene, key) for key in ("id", "split", "sample_rate", "num_samples")},
        "mixture": MIXTURE_NAME,
        "scale": scale,
        "gain": scale * example.gain,
        "target": scene.target,
        "reference_mic": scene.reference_mic,
        "array": scene.array.model_dump(mode="json"),
        "room": {key: getattr(room, key) for key in ("size", "array_centre", "array_rotation")},
        "t60_asked": room.t60,
        "t60_measured": example.t60 or None,
        "snr_db": scene.noise.snr_db,
        "background": background and {"kind": background.kind, "snr_db": background.snr_db},
        "corpus": {"name": corpus.name, "fingerprint": scene.corpus},
        "speakers": _speakers(example, corpus),
        **({"other_references": others} if others else {}),
        "scene": scene.model_dump(mode="json"),
    }


def _speakers(example: Example, corpus: Corpus) -> list[dict[str, Any]]:
    """Labels of each speaker who is heard."""
    scene, found = example.scene, []
    for i, (number, crops) in enumerate(scene.crops().items()):
        placement = scene.room.speakers[number]
        said = [{key: getattr(crop, key) for key in _CROP} for crop in crops]
        found.append(
            {
                "file": speaker_file(i),
                **{key: getattr(placement, key) for key in _PLACEMENT},
                "drr_db": _finite(example.drr_db[i]),
                "level_db": crops[0].level_db,
                "speaker": corpus.by_id(crops[0].utterance).speaker,
                "activity": example.activity and example.activity[i],
                **_track(scene, number),
                **({"turns": said} if scene.is_conversation else said[0]),
            }
        )
    return found


def _track(scene: Scene, number: int) -> dict[str, Any]:
    """Where somebody is over time; nothing of those who stand still."""
    if number not in {path.speaker for path in scene.paths}:
        return {}
    seconds = np.arange(0, scene.num_samples / scene.sample_rate, TRACK_SECONDS)
    distance = np.linalg.norm(scene.positions(seconds)[number], axis=-1)
    track = {"seconds": seconds, "azimuth": scene.azimuths(seconds)[number], "distance": distance}
    return {"track": {key: values.round(3).tolist() for key, values in track.items()}}


def _finite(value: float) -> float | None:
    """JSON has no infinity, which is the direct-to-reverberant ratio of a room without walls."""
    return float(value) if np.isfinite(value) else None


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
    others = {entry["mic"]: entry for entry in labels.get("other_references", ())}
    room = pose(scene) if may_be_turned(scene, others) else scene.room
    mic = channel_order(scene.room, room, scene.microphone_array())[scene.reference_mic]
    heard = labels if mic == scene.reference_mic else others[mic]
    names = [MIXTURE_NAME, *(speaker["file"] for speaker in heard["speakers"])]
    mixture, *targets = (_decoded(content) for content in read_files(read, labels, names).values())
    scale = labels["scale"]
    activity = [speaker.get("activity") for speaker in labels["speakers"]]
    nobody = np.zeros((0, scene.num_samples), np.float32)
    example = Example(
        mixture=mixture / np.float32(scale),
        targets=np.concatenate([nobody, *targets], dtype=np.float32) / np.float32(scale),
        **directions(scene, scene.room),
        drr_db=_drr(labels),
        t60=labels["t60_measured"] or 0.0,
        gain=labels["gain"] / scale,
        scene=scene,
        activity=None
        if None in activity
        else tuple(tuple((start, end) for start, end in of_one) for of_one in activity),
    )
    if room == scene.room:
        return example
    if heard is labels:
        return turned(example, room)
    levels = tuple(speaker["level_db"] for speaker in heard["speakers"])
    snrs = heard["snr_db"], heard["background_snr_db"]
    return turned(example, room, AtMicrophone(example.targets, _drr(heard), levels, *snrs))


def may_be_turned(scene: Scene, others: Collection[int]) -> bool:
    """Return whether targets at the reference and these suffice for all symmetries of a scene."""
    return is_symmetric(scene) and set(target_mics(scene, "symmetric")) <= set(others)


def _drr(heard: Mapping[str, Any]) -> NDArray[np.float32]:
    """Direct-to-reverberant ratios ``[speaker]``; JSON has no infinity."""
    ratios = [speaker["drr_db"] for speaker in heard["speakers"]]
    return np.array([np.inf if ratio is None else ratio for ratio in ratios], np.float32)


def _decoded(wav: bytes) -> NDArray[np.float32]:
    """``[channel, sample]``."""
    import soundfile

    audio, _ = soundfile.read(BytesIO(wav), dtype="float32", always_2d=True)
    if not np.isfinite(audio).all():
        raise ValueError("audio holds values that are no numbers")
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
        levels = dict(zip(scene.heard, heard.level_db, strict=True))
        changes["speech"] = tuple(
            crop.model_copy(update={"level_db": levels[speaker]}) for speaker, crop in scene.turns()
        )
        changes["noise"] = scene.noise.model_copy(update={"snr_db": heard.snr_db})
        if scene.background is not None:
            snr_db = {"snr_db": heard.background_snr_db}
            changes["background"] = scene.background.model_copy(update=snr_db)
    return replace(
        example,
        mixture=mixture * np.float32(gain),
        targets=(heard or example).targets * np.float32(gain),
        **directions(scene, room),
        drr_db=(heard or example).drr_db,
        gain=example.gain * gain,
        scene=scene.model_copy(update=changes),
        others={},
    )
