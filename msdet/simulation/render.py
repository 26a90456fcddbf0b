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
from msdet.moments import moments_of
from msdet.simulation.config import Target
from msdet.simulation.convolution import Convolution
from msdet.simulation.moving import MovingSource
from msdet.simulation.noise import background_noise, sensor_noise
from msdet.simulation.recorder import coloured, recorded, rumble
from msdet.simulation.rirs import Rirs
from msdet.simulation.rooms import Room
from msdet.simulation.scene import Mismatch, Scene
from msdet.simulation.speech import Intervals, SpeechCrop, active_intervals

_FADE_SECONDS = 0.01
"""A turn of a conversation fades in and out: it may begin and end in the middle of a word."""


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

    Speakers are those who are heard in it, in the order of the room.

    Attributes:
        mixture: float32 ``[mic, sample]``; the reference microphone has an RMS of 1.
        targets: float32 ``[speaker, sample]`` at the reference microphone.
        azimuth, elevation: float32 ``[speaker]``, degrees in the array's frame.
        distance: float32 ``[speaker]``, metres.
        drr_db: float32 ``[speaker]``, direct-to-reverberant ratio at the reference microphone.
        t60: measured, seconds.
        gain: what the mixture and targets were multiplied by; before it, the first speaker's
            image is the recording through the room's response, whose direct path is 1/distance.
        others: what belongs to further microphones, by their number, where it was asked for.
        places: float64 ``[speaker, moment, 3]``, metres in the array's frame, where speakers are at
            each of :func:`msdet.moments.moments_of`; None where all stand still. Other
            labels are those of the start.
        activity: when each speaker speaks, seconds, read off the dry speech; None of a mixture that
            was stored without it.
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
    activity: tuple[Intervals, ...] | None = None
    places: NDArray[np.float64] | None = None

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

    @property
    def track(self) -> NDArray[np.float32] | None:
        """Return the azimuths at the moments of ``places``, degrees that are not wrapped at 360,
        float32 ``[speaker, moment]``; None where all stand still."""
        if self.places is None:
            return None
        return np.unwrap(self.array.azimuth_of(self.places), period=360).astype(np.float32)


@dataclass(frozen=True)
class Parts:
    """The parts of a mixture: it is ``images.sum(axis=0) + noise``, with its gain applied.

    Attributes:
        images: float32 ``[speaker, mic, sample]``, reverberant speech of those who are heard.
        noise: float32 ``[mic, sample]``, all else: also what a recorder does to the speech.
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
            for row, early in work.moving_early.items():
                channel += work.gains[row] * early[mic]
    if scene.mismatch is not None:
        mixture = _mismatched(scene.mismatch, mixture)
    mixture += work.noise
    if scene.recorder is not None:
        mixture = recorded(scene.recorder, mixture, reference, scene.sample_rate)
    gain = _gain_to_unit_rms(mixture[reference])
    mixture *= np.float32(gain)
    return Example(
        mixture=mixture,
        targets=work.targets(scene.target, reference, work.reference_images, gain),
        **directions(scene, scene.room),
        drr_db=work.rirs.drr_db[:, reference],
        t60=rirs.t60_measured,
        gain=gain,
        scene=scene,
        others={mic: work.at(mic, gain) for mic in others},
        activity=work.activity,
    )


def directions(scene: Scene, room: Room) -> dict[str, Any]:
    """Azimuth, elevation and distance of a scene's speakers, and where they are over time, as an
    `Example` has them.

    Args:
        room: that of the scene, its array in any pose.
    """
    keys, placed = ("azimuth", "elevation", "distance"), [room.speakers[n] for n in scene.heard]
    found: dict[str, Any] = {k: np.array([getattr(s, k) for s in placed], np.float32) for k in keys}
    if scene.paths:
        seen = scene.model_copy(update={"room": room})
        moments = moments_of(scene.num_samples / scene.sample_rate)
        found["places"] = seen.positions(moments)[list(scene.heard)]
    return found


def render_parts(scene: Scene, corpus: Corpus, rirs: Rirs) -> Parts:
    """Render the parts of `render`'s mixture, for oracle methods and checks; slower."""
    work = _Rendering(scene, corpus, rirs)
    reference = scene.reference_mic
    mics = range(rirs.image.shape[1])
    images = np.stack([work.images(mic) for mic in mics], axis=1)
    images *= work.gains[:, None, None]
    if scene.mismatch is not None:
        images = _mismatched(scene.mismatch, images)
    noise = work.noise
    if scene.recorder is not None:
        speech = images.sum(axis=0)
        noise = recorded(scene.recorder, speech + noise, reference, scene.sample_rate) - speech
    mixture = images[:, reference].sum(axis=0) + noise[reference]
    gain = _gain_to_unit_rms(mixture)
    early = work.targets("early", reference, work.reference_images, gain)
    return Parts(images * np.float32(gain), noise * np.float32(gain), early)


class _Rendering:
    """The start of both ways of rendering; levels are set, but for the common gain.

    Attributes:
        rirs: of the speakers who are heard.
        crops: of each of them. activity: when each speaks.
        responses: ``[speaker, mic, freq]``, of the convolution; of those who walk their tails.
        moving: those who walk, by their place among the speakers. moving_early: what is heard of
            them besides the tails, ``[mic, sample]``. tails: ``[speaker, mic, tap]``, the responses
            that do not change: of those who walk the tails, of the others all.
        reference_images: ``[speaker, sample]``, without the gains. gains: ``[speaker]``.
        sensor_noise: ``[mic, sample]``. background: the same, if there is one.
        noise: all that is heard besides the speakers ``[mic, sample]``.
    """

    def __init__(self, scene: Scene, corpus: Corpus, rirs: Rirs) -> None:
        expected = (len(scene.room.speakers), len(scene.array.positions), scene.sample_rate)
        found = (*rirs.image.shape[:2], rirs.sample_rate)
        if found != expected:
            raise ValueError(
                f"scene {scene.id}: responses are of (speakers, microphones, hertz) {found}, the "
                f"scene is of {expected}"
            )
        crops = scene.crops()
        self.scene = scene
        self.crops = list(crops.values())
        self.rirs = rirs = rirs.of_speakers(list(crops))
        num_mics, reference, taps = expected[1], scene.reference_mic, rirs.image.shape[-1]
        dry = _dry(scene, self.crops, corpus, taps - 1, rirs.delay)
        speech = dry[:, taps - 1 : taps - 1 + scene.num_samples]
        self.activity = tuple(
            active_intervals(signal, of_one, scene.sample_rate)
            for signal, of_one in zip(speech, self.crops, strict=True)
        )
        # The responses' own delay is taken from the signals, not by cutting responses.
        self.convolution = Convolution(dry[:, rirs.delay :], taps, num_mics + 2 * len(dry))
        self.moving = self._moving(list(crops), dry[:, rirs.delay :], taps - 1)
        self.moving_early = {row: one.early() for row, one in self.moving.items()}
        self.tails = rirs.image.copy() if self.moving else rirs.image
        for row, one in self.moving.items():
            self.tails[row] = one.tail_of(rirs.image[row])
        self.responses = self.convolution.transform(self.tails)
        self.reference_images = self.images(reference)
        self.gains = _speaker_gains(scene, self.crops, self.reference_images)
        power = self._speech_power(self.reference_images)
        self.noise = self.sensor_noise = sensor_noise(scene.noise.seed, num_mics, scene.num_samples)
        recorder = scene.recorder
        if recorder is not None and recorder.noise_slope is not None:
            slope = recorder.noise_slope
            self.noise = self.sensor_noise = coloured(self.noise, slope, scene.sample_rate)
        self.sensor_noise *= _noise_gain(self.noise[reference], power, scene.noise.snr_db)
        self.background: NDArray[np.float32] | None = None
        if scene.background is not None:
            background = background_noise(scene, corpus, rirs)
            if scene.mismatch is not None:
                background = _mismatched(scene.mismatch, background)
            level = _noise_gain(background[reference], power, scene.background.snr_db)
            self.background = background * level
            self.noise = self.sensor_noise + self.background
        if recorder is not None and recorder.rumble_snr_db is not None:
            heard = rumble(recorder, scene.num_samples, scene.sample_rate)
            self.noise = self.noise + heard * _noise_gain(heard, power, recorder.rumble_snr_db)

    def _moving(
        self, numbers: Sequence[int], dry: NDArray[np.float32], lead: int
    ) -> dict[int, MovingSource]:
        scene = self.scene
        paths = {path.speaker: path for path in scene.paths}
        mics = scene.room.microphones(scene.microphone_array())
        try:
            return {
                row: MovingSource(
                    scene.room,
                    paths[number],
                    mics,
                    signal,
                    lead,
                    scene.num_samples,
                    scene.sample_rate,
                )
                for row, (number, signal) in enumerate(zip(numbers, dry, strict=True))
                if number in paths
            }
        except InputError as error:
            raise InputError(f"scene {scene.id}: {error}") from error

    def images(self, mic: int) -> NDArray[np.float32]:
        """Reverberant speech ``[speaker, sample]`` at a microphone, without the gains."""
        images = self.convolution.each(self.responses[:, mic])
        for row, early in self.moving_early.items():
            images[row] += early[mic]
        return images

    def targets(
        self, kind: Target, mic: int, images: NDArray[np.float32], gain: float
    ) -> NDArray[np.float32]:
        """Targets ``[speaker, sample]`` at a microphone, which hears these images."""
        targets = images
        if kind != "image":
            responses = self.rirs.early(mic) if kind == "early" else self.rirs.direct[:, mic]
            targets = self.convolution.each(self.convolution.transform(responses))
            for row, one in self.moving.items():
                tail = self.tails[row, mic]
                targets[row] = one.direct(mic) if kind == "direct" else one.up_to(mic, tail)
        return targets * (self.gains[:, None] * np.float32(gain))

    def at(self, mic: int, gain: float) -> AtMicrophone:
        """Return targets and levels at a microphone that is not the reference."""
        images = self.images(mic)
        rms = _spoken_rms(self.crops, images) * self.gains
        first = np.array([crops[0].level_db for crops in self.crops[:1]])
        levels = first + 20 * np.log10(rms / rms[:1])
        speech, background = self._speech_power(images), self.background
        return AtMicrophone(
            targets=self.targets(self.scene.target, mic, images, gain),
            drr_db=self.rirs.drr_db[:, mic],
            level_db=tuple(levels.tolist()),
            snr_db=_decibels(speech / _power(self.sensor_noise[mic])),
            background_snr_db=None
            if background is None
            else _decibels(speech / _power(background[mic])),
        )

    def _speech_power(self, images: NDArray[np.float32]) -> float:
        """Power that noise is set against, of images ``[speaker, sample]``: of all speech, in a
        conversation where somebody speaks; 1 where nobody does."""
        if not self.crops:
            return 1.0
        speech = self.gains @ images
        if self.scene.is_conversation:
            spoken = np.zeros(len(speech), np.bool_)
            for crop in self.scene.speech:
                spoken[crop.onset : crop.onset + crop.length] = True
            speech = speech[spoken]
        return _power(speech)


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


def _dry(
    scene: Scene, crops: Sequence[Sequence[SpeechCrop]], corpus: Corpus, lead: int, tail: int
) -> NDArray[np.float32]:
    """Dry speech ``[speaker, lead + num_samples + tail]``.

    Speech that starts (ends) with the scene goes on before (after) it as in its recording, so that
    the scene's first sample has its reverberation already.

    Args:
        crops: of each speaker, which add up.
    """
    dry = np.zeros((len(crops), lead + scene.num_samples + tail), np.float32)
    fade = round(_FADE_SECONDS * scene.sample_rate)
    rising = np.square(np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade)).astype(np.float32)
    for row, crop in (
        (row, crop) for row, of_one in zip(dry, crops, strict=True) for crop in of_one
    ):
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
        spoken = corpus.read(utterance, start, stop)
        if crop.speaker is not None and len(spoken) >= 2 * fade:
            spoken = spoken.copy()
            if crop.onset > 0:
                spoken[:fade] *= rising
            if crop.onset + crop.length < scene.num_samples:
                spoken[-fade:] *= rising[::-1]
        row[onset : onset + stop - start] += spoken
    return dry


def _speaker_gains(
    scene: Scene, crops: Sequence[Sequence[SpeechCrop]], images: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Gains ``[speaker]`` that set the levels; measured where each one speaks."""
    rms = _spoken_rms(crops, images)
    for (crop, *_), level in zip(crops, rms, strict=True):
        if not level > 1e-7:
            raise InputError(
                f"scene {scene.id}: utterance {crop.utterance!r} is silent from sample "
                f"{crop.offset} to {crop.offset + crop.length} at {scene.sample_rate} Hz"
            )
    levels = 10 ** (np.array([of_one[0].level_db for of_one in crops]) / 20)
    return np.asarray(levels / rms * rms[:1], np.float32)


def _spoken_rms(
    crops: Sequence[Sequence[SpeechCrop]], images: NDArray[np.float32]
) -> NDArray[np.float64]:
    """RMS ``[speaker]`` of images ``[speaker, sample]`` where each one speaks."""
    spoken = (
        np.concatenate([image[crop.onset : crop.onset + crop.length] for crop in of_one])
        for of_one, image in zip(crops, images, strict=True)
    )
    return np.sqrt([np.mean(np.square(signal, dtype=np.float64)) for signal in spoken])


def _power(signal: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(signal, dtype=np.float64)))


def _decibels(ratio: float) -> float:
    return float(10 * np.log10(ratio))
