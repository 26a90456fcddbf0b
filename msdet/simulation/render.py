# SPDX-License-Identifier: Apache-2.0
"""Scene to audio: a mixture with its targets and labels. A pure function of scene and corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation.config import Target
from msdet.simulation.convolution import Convolution
from msdet.simulation.noise import background_noise, sensor_noise
from msdet.simulation.rirs import Rirs
from msdet.simulation.rooms import Room
from msdet.simulation.scene import Mismatch, Scene


@dataclass(frozen=True)
class AtMicrophone:
    """Targets and levels at one microphone, of an example whose reference is another one.

    Attributes:
        targets: float32 ``[speaker, sample]``, with the example's gain.
        drr_db: float32 ``[speaker]``.
        level_db: of each speaker; snr_db, background_snr_db: as a scene gives them for its
            reference. No background has no level.
    """

    targets: NDArray[np.float32]
    drr_db: NDArray[np.float32]
    level_db: tuple[float, ...]
    snr_db: float
    background_snr_db: float | None


@dataclass(frozen=True)
class Example:
    """A mixture with its targets and labels: models are trained and tested on such.

    Attributes:
        mixture: float32 ``[mic, sample]``; the reference microphone has an RMS of 1.
        targets: float32 ``[speaker, sample]`` at the reference microphone, in the scene's order.
        azimuth, elevation: float32 ``[speaker]``, degrees in the array's frame.
        distance: float32 ``[speaker]``, metres.
        drr_db: float32 ``[speaker]``, direct-to-reverberant ratio at the reference microphone.
        t60: measured, seconds.
        gain: what the mixture and targets were multiplied by; before it, the first speaker's
            image is the recording through the room's response, whose direct path is 1/distance.
        others: what belongs to further microphones, by their number, where it was asked for.
    """

    mixture: NDArray[np.float32]
    targets: NDArray[np.float32]
    azimuth: NDArray[np.float32]
    elevation: NDArray[np.float32]
    distance: NDArray[np.float32]
    drr_db: NDArray[np.float32]
    t60: float
    gain: float
    scene: Scene
    others: Mapping[int, AtMicrophone] = field(default_factory=dict)

    @property
    def num_speakers(self) -> int:
        return len(self.targets)

    @property
    def index(self) -> int:
        """The number of the scene in its split."""
        return self.scene.index

    @property
    def array(self) -> MicrophoneArray:
        """The array that it is recorded with."""
        return self.scene.microphone_array()


@dataclass(frozen=True)
class Parts:
    """The parts of a mixture: it is ``images.sum(axis=0) + noise``, with its gain applied.

    Attributes:
        images: float32 ``[speaker, mic, sample]``, reverberant speech.
        noise: float32 ``[mic, sample]``.
        early: float32 ``[speaker, sample]``, of the images at the reference microphone what comes
            up to 50 ms after the direct path: targets as `scene.target=early` has them.
    """

    images: NDArray[np.float32]
    noise: NDArray[np.float32]
    early: NDArray[np.float32]


def render(scene: Scene, corpus: Corpus, rirs: Rirs, others: Sequence[int] = ()) -> Example:
    """Render a scene.

    Args:
        corpus: the one that the scene was drawn from.
        rirs: of the scene's room, with its array as it is turned there.
        others: further microphones whose targets are wanted.
    Raises:
        InputError: an utterance or a recording is missing, too short or silent where the scene
            uses it.
    """
    work = _Rendering(scene, corpus, rirs)
    reference = scene.reference_mic
    mixture = np.empty((rirs.image.shape[1], scene.num_samples), np.float32)
    for mic, channel in enumerate(mixture):
        if mic == reference:
            channel[:] = work.gains @ work.reference_images
        else:
            channel[:] = work.convolution.mixed(work.responses[:, mic], work.gains)
    if scene.mismatch is not None:
        mixture = _mismatched(scene.mismatch, mixture)
    mixture += work.noise
    gain = _gain_to_unit_rms(mixture[reference])
    mixture *= np.float32(gain)
    return Example(
        mixture=mixture,
        targets=work.targets(scene.target, reference, work.reference_images, gain),
        **directions(scene.room),
        drr_db=rirs.drr_db[:, reference],
        t60=rirs.t60_measured,
        gain=gain,
        scene=scene,
        others={mic: work.at(mic, gain) for mic in others},
    )


def directions(room: Room) -> dict[str, Any]:
    """Azimuth, elevation and distance of the speakers of a room, as an `Example` has them."""
    keys = ("azimuth", "elevation", "distance")
    return {k: np.array([getattr(s, k) for s in room.speakers], np.float32) for k in keys}


def render_parts(scene: Scene, corpus: Corpus, rirs: Rirs) -> Parts:
    """Render the parts of `render`'s mixture, for oracle methods and checks; slower."""
    work = _Rendering(scene, corpus, rirs)
    reference = scene.reference_mic
    mics = range(rirs.image.shape[1])
    images = np.stack([work.convolution.each(work.responses[:, mic]) for mic in mics], axis=1)
    images *= work.gains[:, None, None]
    if scene.mismatch is not None:
        images = _mismatched(scene.mismatch, images)
    mixture = images[:, reference].sum(axis=0) + work.noise[reference]
    gain = _gain_to_unit_rms(mixture)
    early = work.targets("early", reference, work.reference_images, gain)
    return Parts(images * np.float32(gain), work.noise * np.float32(gain), early)


class _Rendering:
    """The start of both ways of rendering; levels are set, but for the common gain.

    Attributes:
        responses: ``[speaker, mic, freq]``, of the convolution.
        reference_images: ``[speaker, sample]``, without the gains. gains: ``[speaker]``.
        sensor_noise: ``[mic, sample]``. background: the same, if there is one.
        noise: all that is heard besides the speakers ``[mic, sample]``.
    """

    def __init__(self, scene: Scene, corpus: Corpus, rirs: Rirs) -> None:
        expected = (len(scene.speech), len(scene.array.positions), scene.sample_rate)
        found = (*rirs.image.shape[:2], rirs.sample_rate)
        if found != expected:
            raise ValueError(
                f"scene {scene.id}: responses are of (speakers, microphones, hertz) {found}, the "
                f"scene is of {expected}"
            )
        self.scene, self.rirs = scene, rirs
        num_mics, reference, taps = expected[1], scene.reference_mic, rirs.image.shape[-1]
        dry = _dry(scene, corpus, taps - 1, rirs.delay)
        # The responses' own delay is taken from the signals, not by cutting responses.
        self.convolution = Convolution(dry[:, rirs.delay :], taps, num_mics + 2 * len(dry))
        self.responses = self.convolution.transform(rirs.image)
        self.reference_images = self.convolution.each(self.responses[:, reference])
        self.gains = _speaker_gains(scene, self.reference_images)
        power = _power(self.gains @ self.reference_images)
        self.noise = self.sensor_noise = sensor_noise(scene.noise.seed, num_mics, scene.num_samples)
        self.sensor_noise *= _noise_gain(self.noise[reference], power, scene.noise.snr_db)
        self.background: NDArray[np.float32] | None = None
        if scene.background is not None:
            background = background_noise(scene, corpus, rirs)
            if scene.mismatch is not None:
                background = _mismatched(scene.mismatch, background)
            level = _noise_gain(background[reference], power, scene.background.snr_db)
            self.background = background * level
            self.noise = self.sensor_noise + self.background

    def targets(
        self, kind: Target, mic: int, images: NDArray[np.float32], gain: float
    ) -> NDArray[np.float32]:
        """Targets ``[speaker, sample]`` at a microphone, which hears these images."""
        targets = images
        if kind != "image":
            responses = self.rirs.early(mic) if kind == "early" else self.rirs.direct[:, mic]
            targets = self.convolution.each(self.convolution.transform(responses))
        return targets * (self.gains[:, None] * np.float32(gain))

    def at(self, mic: int, gain: float) -> AtMicrophone:
        """Return targets and levels at a microphone that is not the reference."""
        images = self.convolution.each(self.responses[:, mic])
        rms = _spoken_rms(self.scene, images) * self.gains
        levels = self.scene.speech[0].level_db + 20 * np.log10(rms / rms[0])
        speech, background = _power(self.gains @ images), self.background
        return AtMicrophone(
            targets=self.targets(self.scene.target, mic, images, gain),
            drr_db=self.rirs.drr_db[:, mic],
            level_db=tuple(levels.tolist()),
            snr_db=_decibels(speech / _power(self.sensor_noise[mic])),
            background_snr_db=None
            if background is None
            else _decibels(speech / _power(background[mic])),
        )


def _noise_gain(noise: NDArray[np.float32], speech_power: float, snr_db: float) -> np.float32:
    return np.float32(np.sqrt(speech_power / _power(noise) * 10 ** (-snr_db / 10)))


def _gain_to_unit_rms(reference: NDArray[np.float32]) -> float:
    return float(1.0 / np.sqrt(_power(reference)))


def _mismatched(mismatch: Mismatch, signals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Signals ``[..., mic, sample]`` as microphones with other gains and phases hear them."""
    samples = signals.shape[-1]
    size = scipy.fft.next_fast_len(samples, real=True)
    phase = np.radians(mismatch.phase)
    factors = 10 ** (np.array(mismatch.gain_db) / 20) * np.exp(1j * phase)
    spectra = scipy.fft.rfft(signals, size, axis=-1) * factors.astype(np.complex64)[:, None]
    return np.asarray(scipy.fft.irfft(spectra, size, axis=-1)[..., :samples], np.float32)


def _dry(scene: Scene, corpus: Corpus, lead: int, tail: int) -> NDArray[np.float32]:
    """Dry speech ``[speaker, lead + num_samples + tail]``.

    Speech that starts (ends) with the scene goes on before (after) it as in its recording, so that
    the scene's first sample has its reverberation already.
    """
    dry = np.zeros((len(scene.speech), lead + scene.num_samples + tail), np.float32)
    for row, crop in zip(dry, scene.speech, strict=True):
        utterance = corpus.by_id(crop.utterance)
        length = corpus.num_samples(utterance)
        start, stop = crop.offset, crop.offset + crop.length
        if stop > length:
            raise InputError(
                f"scene {scene.id}: needs samples {start} to {stop} of utterance "
                f"{crop.utterance!r}, which has {length} at {scene.sample_rate} Hz"
            )
        onset = lead + crop.onset
        if crop.onset == 0:
            start = max(0, start - lead)
            onset = lead - (crop.offset - start)
        if crop.onset + crop.length == scene.num_samples:
            stop = min(length, stop + tail)
        row[onset : onset + stop - start] = corpus.read(utterance, start, stop)
    return dry


def _speaker_gains(scene: Scene, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gains ``[speaker]`` that set the levels; measured where each one speaks."""
    rms = _spoken_rms(scene, images)
    for crop, level in zip(scene.speech, rms, strict=True):
        if not level > 1e-7:
            raise InputError(
                f"scene {scene.id}: utterance {crop.utterance!r} is silent from sample "
                f"{crop.offset} to {crop.offset + crop.length} at {scene.sample_rate} Hz"
            )
    levels = 10 ** (np.array([c.level_db for c in scene.speech]) / 20)
    return np.asarray(levels / rms * rms[0], np.float32)


def _spoken_rms(scene: Scene, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """RMS ``[speaker]`` of images ``[speaker, sample]`` where each one speaks."""
    spoken = (
        image[crop.onset : crop.onset + crop.length]
        for crop, image in zip(scene.speech, images, strict=True)
    )
    return np.sqrt([np.mean(np.square(signal, dtype=np.float64)) for signal in spoken])


def _power(signal: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(signal, dtype=np.float64)))


def _decibels(ratio: float) -> float:
    return float(10 * np.log10(ratio))
