# SPDX-License-Identifier: Apache-2.0
"""Scene to audio: a mixture with its targets and labels. A pure function of scene and corpus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.simulation.noise import sensor_noise
from msdet.simulation.rirs import Rirs
from msdet.simulation.scene import Scene

_STOP_HZ, _PASS_HZ = 20.0, 50.0
"""Speech is high-passed (zero-phase): image-source rooms amplify what lies below, such as a
recording's hum or offset, since all their images add up in phase there."""


@dataclass(frozen=True)
class Example:
    """What a model is trained and tested on.

    Attributes:
        mixture: float32 ``[mic, sample]``; the reference microphone has an RMS of 1.
        targets: float32 ``[speaker, sample]`` at the reference microphone, in the scene's order.
        azimuth, elevation: float32 ``[speaker]``, degrees in the array's frame.
        distance: float32 ``[speaker]``, metres.
        drr_db: float32 ``[speaker]``, direct-to-reverberant ratio at the reference microphone.
        t60: measured, seconds.
        gain: what the mixture and targets were multiplied by; before it, the first speaker's
            speech is as loud as in its recording.
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


@dataclass(frozen=True)
class Parts:
    """What a mixture is the sum of: ``images.sum(axis=0) + noise``, with its gain applied.

    Attributes:
        images: float32 ``[speaker, mic, sample]``, reverberant speech.
        noise: float32 ``[mic, sample]``.
    """

    images: NDArray[np.float32]
    noise: NDArray[np.float32]


def render(scene: Scene, corpus: Corpus, rirs: Rirs) -> Example:
    """Render a scene.

    Args:
        corpus: the one that the scene was drawn from.
        rirs: of the scene's room, with its array as it is turned there.
    Raises:
        InputError: an utterance is missing, too short or silent where the scene uses it.
    """
    work = _prepare(scene, corpus, rirs)
    reference = scene.reference_mic
    mixture = np.empty((rirs.image.shape[1], scene.num_samples), np.float32)
    others = [m for m in range(len(mixture)) if m != reference]
    speech = work.speech * work.gains[:, None]
    mixture[reference] = work.gains @ work.reference_images
    mixture[others] = work.back(np.einsum("sf,smf->mf", speech, work.responses[:, others]))
    mixture += work.noise
    targets = work.gains[:, None] * _targets(scene, rirs, work)
    gain = work.gain_to_unit_rms(mixture[reference])
    speakers = scene.room.speakers
    return Example(
        mixture=mixture * np.float32(gain),
        targets=targets * np.float32(gain),
        azimuth=np.array([s.azimuth for s in speakers], np.float32),
        elevation=np.array([s.elevation for s in speakers], np.float32),
        distance=np.array([s.distance for s in speakers], np.float32),
        drr_db=rirs.drr_db[:, reference],
        t60=rirs.t60_measured,
        gain=gain,
        scene=scene,
    )


def render_parts(scene: Scene, corpus: Corpus, rirs: Rirs) -> Parts:
    """What `render`'s mixture is the sum of, for oracle methods and checks; slower."""
    work = _prepare(scene, corpus, rirs)
    images = work.back(work.speech[:, None] * work.responses)
    images[:, scene.reference_mic] = work.reference_images
    images *= work.gains[:, None, None]
    reference = images[:, scene.reference_mic].sum(axis=0) + work.noise[scene.reference_mic]
    gain = np.float32(work.gain_to_unit_rms(reference))
    return Parts(images=images * gain, noise=work.noise * gain)


@dataclass(frozen=True)
class _Work:
    """Spectra ``[..., freq]`` of speech and responses, levels set, before the common gain."""

    speech: NDArray[np.complex64]
    responses: NDArray[np.complex64]
    reference_images: NDArray[np.float32]
    gains: NDArray[np.float32]
    noise: NDArray[np.float32]
    size: int
    begin: int
    num_samples: int

    def back(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """``[..., freq]`` to the scene's samples ``[..., sample]``."""
        signal = fft.irfft(spectra, self.size, axis=-1)
        return np.asarray(signal[..., self.begin : self.begin + self.num_samples])

    @staticmethod
    def gain_to_unit_rms(reference: NDArray[np.float32]) -> float:
        return float(1.0 / np.sqrt(np.mean(np.square(reference, dtype=np.float64))))


def _prepare(scene: Scene, corpus: Corpus, rirs: Rirs) -> _Work:
    """Convolve by overlap-save: the samples before the scene hold the speech whose reverberation
    reaches into it, and take the circular wrap."""
    if rirs.sample_rate != scene.sample_rate or len(rirs.image) != len(scene.speech):
        raise ValueError(
            f"scene {scene.id}: responses of {len(rirs.image)} speakers at {rirs.sample_rate} Hz "
            f"for a scene of {len(scene.speech)} at {scene.sample_rate} Hz"
        )
    lead = rirs.image.shape[-1] - 1
    dry = _dry(scene, corpus, lead, rirs.delay)
    size = fft.next_fast_len(dry.shape[-1], real=True)
    speech = fft.rfft(dry, size, axis=-1) * _high_pass(size, scene.sample_rate)
    responses = fft.rfft(rirs.image, size, axis=-1)
    begin = lead + rirs.delay
    spectra = speech * responses[:, scene.reference_mic]
    images = np.asarray(fft.irfft(spectra, size, axis=-1)[:, begin : begin + scene.num_samples])
    gains = _speaker_gains(scene, images)
    noise = sensor_noise(scene.noise.seed, rirs.image.shape[1], scene.num_samples)
    noise_power = np.mean(np.square(noise[scene.reference_mic], dtype=np.float64))
    power = np.mean(np.square(gains @ images, dtype=np.float64))
    noise *= np.float32(np.sqrt(power / noise_power * 10 ** (-scene.noise.snr_db / 10)))
    return _Work(speech, responses, images, gains, noise, size, begin, scene.num_samples)


def _dry(scene: Scene, corpus: Corpus, lead: int, tail: int) -> NDArray[np.float32]:
    """Dry speech ``[speaker, lead + num_samples + tail]``.

    Speech that starts (ends) with the scene goes on before (after) it as in its recording, so that
    the scene's first sample has its reverberation already.
    """
    dry = np.zeros((len(scene.speech), lead + scene.num_samples + tail), np.float32)
    for row, crop in zip(dry, scene.speech, strict=True):
        audio = corpus.read(corpus.by_id(crop.utterance))
        start, stop = crop.offset, crop.offset + crop.length
        if stop > len(audio):
            raise InputError(
                f"scene {scene.id}: needs samples {start} to {stop} of utterance "
                f"{crop.utterance!r}, which has {len(audio)} at {scene.sample_rate} Hz"
            )
        onset = lead + crop.onset
        if crop.onset == 0:
            start = max(0, start - lead)
            onset = lead - (crop.offset - start)
        if crop.onset + crop.length == scene.num_samples:
            stop = min(len(audio), stop + tail)
        row[onset : onset + stop - start] = audio[start:stop]
    return dry


def _speaker_gains(scene: Scene, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gains ``[speaker]`` that set the levels; measured where each one speaks."""
    rms = np.empty(len(images))
    for s, (crop, image) in enumerate(zip(scene.speech, images, strict=True)):
        spoken = image[crop.onset : crop.onset + crop.length]
        rms[s] = np.sqrt(np.mean(np.square(spoken, dtype=np.float64)))
        if not rms[s] > 1e-7:
            raise InputError(
                f"scene {scene.id}: utterance {crop.utterance!r} is silent from sample "
                f"{crop.offset} to {crop.offset + crop.length} at {scene.sample_rate} Hz"
            )
    levels = 10 ** (np.array([c.level_db for c in scene.speech]) / 20)
    return np.asarray(levels / rms * rms[0], np.float32)


def _targets(scene: Scene, rirs: Rirs, work: _Work) -> NDArray[np.float32]:
    if scene.target == "image":
        return work.reference_images
    if scene.target == "early":
        responses = rirs.early(scene.reference_mic)
    else:
        responses = rirs.direct[:, scene.reference_mic]
    return work.back(work.speech * fft.rfft(responses, work.size, axis=-1))


@lru_cache(maxsize=64)
def _high_pass(size: int, sample_rate: int) -> NDArray[np.float32]:
    """Gains ``[freq]`` of a raised-cosine step, zero-phase."""
    frequency = fft.rfftfreq(size, 1 / sample_rate)
    rise = np.clip((frequency - _STOP_HZ) / (_PASS_HZ - _STOP_HZ), 0.0, 1.0)
    gains = np.asarray(0.5 - 0.5 * np.cos(np.pi * rise), np.float32)
    gains.flags.writeable = False
    return gains
