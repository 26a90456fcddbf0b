# SPDX-License-Identifier: Apache-2.0
"""How often the check of an array is wrong, and what it notices, on simulated scenes.

``python scripts/bench_array_check.py [--scenes 700] [--split test]``

A scene has one of 19 arrays of 2 to 16 microphones, lines, planar and not; 1 to 8 s at 16 or 8 kHz;
T60 of .15 to .7 s, or 1 s; nobody (noise alone) to three people, .2 m lower to .4 m higher; in half
of them a background of 0 to 20 dB; in half of them gains off by 1.5 dB, phases by 5 degrees, places
by 2 mm. Each is checked as it is, through MP3 (a third of them), with rumble and an offset, and
spoilt in each of the ways of `spoilt`.

- ``alarms``: matching scenes of which anything is said; ``contradicted``: of which it is said that
  they cannot be of their array.
- of each kind of misfit: ``noticed``, ``contradicted``, and ``named`` (the very channels), shares
  of the scenes in which somebody speaks; ``noticed_of_4_s``: of those that last for 4 s or more.

Swaps that a rotation or mirroring of the array undoes are left out. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections import defaultdict

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, resample, sosfilt
from scipy.stats import binomtest

from msdet.corpora import BundledConfig, Corpus, open_corpus
from msdet.geometry import Circle, Line, MicrophoneArray
from msdet.inference.array_check import ArrayCheck
from msdet.named_arrays import named_arrays
from msdet.simulation import SceneConfig, compute_rirs, draw_scene, render, render_parts

Audio = NDArray[np.float32]
RATES = (16000, 8000)
SAME_SIZE = 0.15
"""Shapes that fit one another within so much of their size count as the same array."""


def main() -> None:
    """Check every scene in every way, and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=700)
    parser.add_argument("--split", choices=("train", "valid", "test"), default="test")
    options = parser.parse_args()
    corpora = {r: open_corpus(BundledConfig(), r).split(options.split) for r in RATES}
    rows: dict[str, list[tuple[bool, bool, bool, bool, bool]]] = defaultdict(list)
    seconds = spent = 0.0
    for index in range(options.scenes):
        rng = np.random.default_rng([ord(options.split[0]), index])
        audio, array, rate, people = scene(rng, corpora, options.split, index)
        long = audio.shape[1] >= 4 * rate
        for kind, claimed, heard, mics in cases(rng, audio, array, rate, corpora[rate]):
            start = time.process_time()
            check = ArrayCheck(claimed, rate)
            check.add(heard)
            found = check.misfits()
            if kind == "match" and array.num_mics == 4 and rate == RATES[0]:
                spent += time.process_time() - start
                seconds += audio.shape[1] / rate
            named = any(set(misfit.mics) & set(mics) for misfit in found)
            against = any(misfit.contradicts for misfit in found)
            rows[kind].append((bool(found), against, named, people > 0, long))
            if kind in MATCHING and found:
                print(f"{index} {kind} {array.name}: {[m.sentence for m in found]}", flush=True)
    print(json.dumps(table(rows) | {"cpu_seconds_per_second": round(spent / seconds, 4)}))


def table(rows: dict[str, list[tuple[bool, bool, bool, bool, bool]]]) -> dict[str, object]:
    """Counts and shares of each kind."""
    found: dict[str, object] = {}
    for kind, each in rows.items():
        said, against, named, spoken, long = np.array(each).T
        if kind in MATCHING:
            alarms = int(said.sum())
            bound = binomtest(alarms, len(said)).proportion_ci(0.95, "exact").high
            found[kind] = {"scenes": len(said), "alarms": alarms, "upper_95": round(bound, 4)}
            found[kind] |= {"contradicted": int(against.sum())}  # type: ignore[operator]
        else:
            values = {"noticed": said, "contradicted": against, "named": named}
            found[kind] = {"scenes": int(spoken.sum())} | {
                name: round(float(value[spoken].mean()), 3) for name, value in values.items()
            } | {"noticed_of_4_s": round(float(said[spoken & long].mean()), 3)}  # fmt: skip
    return found


# --- scenes -------------------------------------------------------------------------------


def arrays() -> list[MicrophoneArray]:
    """The named arrays, and others of 2 to 16 microphones."""
    lines, circles = ((2, 0.06), (2, 0.15), (6, 0.03)), ((3, 0.04), (5, 0.04), (8, 0.08))
    more = [
        *(Line(shape="line", num_mics=mics, spacing=metres) for mics, metres in lines),
        *(
            Circle(shape="circle", num_mics=mics, radius=metres)
            for mics, metres in (*circles, (8, 0.045), (16, 0.1))
        ),
        Line(shape="line", num_mics=16, spacing=0.02),
    ]
    corners = tuple((x, y, z) for x in (0, 0.08) for y in (0, 0.08) for z in (0, 0.08))
    bent = ((0.0, 0.0, 0.0), (0.03, 0.0, 0.0), (0.08, 0.01, 0.0), (0.06, 0.07, 0.0))
    drawn = [MicrophoneArray("cube8", corners), MicrophoneArray("bent4", bent)]
    return [*named_arrays().values(), *(shape.build() for shape in more), *drawn]


def scene(
    rng: np.random.Generator, corpora: dict[int, Corpus], split: str, index: int
) -> tuple[Audio, MicrophoneArray, int, int]:
    """Audio ``[mic, sample]``, its array, its sample rate, and how many people speak."""
    pool = arrays()
    array = pool[int(rng.integers(len(pool)))]
    rate = RATES[int(rng.random() < 0.15)]
    seconds = float(rng.choice([1.0, 2.0, 4.0, 8.0]))
    people = int(rng.choice([0, 1, 1, 1, 2, 2, 2, 3]))
    long, noisy, imperfect = rng.random(3) < (0.15, 0.5, 0.5)
    kinds = ["diffuse", "diffuse", "babble", "point"] if noisy or not people else ["none"]
    off = {"gain_db": 1.5, "phase": 5.0, "position": 0.002} if imperfect else {}
    config = SceneConfig.model_validate(
        {
            "num_speakers": (max(people, 1), max(people, 1)),
            "t60": (1.0, 1.0) if long else (0.15, 0.7),
            "rirs": "hybrid" if long or rng.random() < 0.5 else "exact",
            "overlap": (0.2, 1.0),
            "speaker": {"height_offset": (-0.2, 0.4)},
            "background": {"kinds": kinds, "snr_db": (0.0, 20.0)},
            "imperfections": off,
            "use_symmetry": False,
        }
    )
    drawn = draw_scene(
        config, array, corpora[rate], seed=7, split=split, index=index, epoch=0,
        sample_rate=rate, num_samples=round(seconds * rate),
    )  # type: ignore[arg-type]  # fmt: skip
    rirs = compute_rirs(drawn.room, array, rate)
    if people:
        return render(drawn, corpora[rate], rirs).mixture, array, rate, people
    return render_parts(drawn, corpora[rate], rirs).noise, array, rate, people


# --- what is done to them -----------------------------------------------------------------

MATCHING = ("match", "mp3", "rumble")

Case = tuple[str, MicrophoneArray, Audio, tuple[int, ...]]


def cases(
    rng: np.random.Generator, audio: Audio, array: MicrophoneArray, rate: int, corpus: Corpus
) -> list[Case]:
    """Kind, array that is claimed, audio, and the microphones whose channels are at fault."""
    count = array.num_mics
    everyone = tuple(range(count))
    found: list[Case] = [
        ("match", array, audio, ()),
        ("rumble", array, rumbling(rng, audio, rate), ()),
    ]
    if rng.random() < 1 / 3:
        found.append(("mp3", array, through_mp3(audio, rate), ()))
    others = [a for a in arrays() if a.num_mics == count and not alike(a, array, everyone)]
    if others:
        found.append(("wrong array", others[int(rng.integers(len(others)))], audio, everyone))
    for kind, factor in (("1.8 times too large", 1.8), ("1.8 times too small", 1 / 1.8)):
        scaled = MicrophoneArray(kind, tuple(map(tuple, factor * array.as_array())))
        found.append((kind, scaled, audio, everyone))
    one, other = (int(i) for i in rng.choice(count, 2, replace=False))
    order = list(everyone)
    order[one], order[other] = other, one
    if not alike(array, array, tuple(order)):
        found.append(("swapped", array, audio[order], (one, other)))
    shuffled = tuple(int(i) for i in rng.permutation(count))
    if not alike(array, array, shuffled):
        found.append(("shuffled", array, audio[list(shuffled)], everyone))
    utterances = corpus.utterances
    played = np.resize(corpus.read(utterances[int(rng.integers(len(utterances)))]), audio.shape[1])
    for kind, channel in spoilt(rng, audio, one, other, played, rate).items():
        heard = audio.copy()
        heard[one] = channel
        found.append((kind, array, heard, (one,)))
    turned = np.roll(audio, 1, axis=0)
    turned[0] = played * np.sqrt(np.mean(audio[0] ** 2) / np.mean(played**2))
    found.append(("turned by a loopback", array, turned, (0,)))
    second = audio.copy()
    half = list(range(count // 2, count))
    size = round(audio.shape[1] * (1 + 1e-4 * float(rng.choice([-1, 1]))))
    second[half] = np.resize(
        np.roll(resample(audio[half], size, axis=1), round(0.004 * rate), axis=1).T,
        (audio.shape[1], len(half)),
    ).T
    found.append(("two devices", array, second, tuple(half)))
    return found


def spoilt(
    rng: np.random.Generator, audio: Audio, one: int, other: int, played: Audio, rate: int
) -> dict[str, Audio]:
    """The ways in which the channel of microphone ``one`` is wrong."""
    own = audio[one]
    return {
        "silent": 0 * own,
        "copy": 0.7 * audio[other],
        "inverted copy": -audio[other],
        "inverted": -own,
        "20 dB quieter": 0.1 * own,
        "late by 2 to 40 samples": np.roll(own, int(rng.integers(2, 41))),
        "late by .2 s": np.roll(own, rate // 5),
        "loopback": played * np.sqrt(np.mean(own**2) / np.mean(played**2)),
        "processed": gated(np.roll(audio.mean(axis=0), round(0.01 * rate))),
    }


def gated(audio: Audio) -> Audio:
    """Quiet frequencies of quiet times gone, as a noise suppression does it."""
    size = 256
    frames = np.resize(audio, (-(-len(audio) // size), size))
    spectra = np.fft.rfft(frames, axis=1)
    power = np.abs(spectra) ** 2
    spectra *= power > np.median(power, axis=0)
    return np.asarray(np.fft.irfft(spectra, size, axis=1).ravel()[: len(audio)], np.float32)


def rumbling(rng: np.random.Generator, audio: Audio, rate: int) -> Audio:
    """Rumble 10 dB above all else, another one in each channel, and an offset."""
    low = sosfilt(butter(2, 40, fs=rate, output="sos"), rng.standard_normal(audio.shape))
    low *= 3.2 * np.sqrt(np.mean(audio**2) / np.mean(low**2))
    return np.asarray(audio + low + 0.5, np.float32)


def through_mp3(audio: Audio, rate: int) -> Audio:
    """Each channel through MP3; lengths and delays stay."""
    peak = 1.1 * np.abs(audio).max()
    heard = []
    for channel in audio:
        file = io.BytesIO()
        soundfile.write(file, channel / peak, rate, format="MP3", subtype="MPEG_LAYER_III")
        file.seek(0)
        heard.append(soundfile.read(file, dtype="float32")[0])
    return np.array([channel[: audio.shape[1]] for channel in heard])


def alike(one: MicrophoneArray, other: MicrophoneArray, order: tuple[int, ...]) -> bool:
    """Return whether the distances in two arrays are about equal, the second's in an order."""
    first, second = (
        np.linalg.norm(p[:, None] - p[None], axis=-1)
        for p in (one.as_array(), other.as_array()[list(order)])
    )
    return bool(np.abs(first - second).max() < SAME_SIZE * second.max() / 2)


if __name__ == "__main__":
    main()
