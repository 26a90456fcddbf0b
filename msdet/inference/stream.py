# SPDX-License-Identifier: Apache-2.0
"""A stream of audio to separated speakers and their directions, as it comes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
import torch
from numpy import typing as npt
from numpy.typing import NDArray

from msdet.checkpoints import Checkpoint
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.high_pass import CUTOFF_HZ
from msdet.inference.conditioning import BlockResampler
from msdet.inference.speakers import mass_near
from msdet.models.frontends import power
from msdet.models.timeline import Memory

_MOST_BLOCKS = 64
"""The network takes so many at once at most, however long a piece is."""

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Heard:
    """The outputs of a stream for one more piece.

    Attributes:
        audio: float32 ``[slot, sample]``, the outputs at the reference microphone, at the stream's
            own sample rate and level, from where the last piece's ended.
        seconds: of each moment of this piece, from the start of the stream ``[moment]``.
        azimuth: degrees in the array's frame ``[slot, moment]``; NaN where the network says that
            nobody is there.
        confidence: the probability that the speaker is within 10 degrees of there, likewise.
        level_db: of what an output holds, decibels below full scale ``[slot, moment]``.
    """

    audio: Audio
    seconds: NDArray[np.float64]
    azimuth: NDArray[np.float64]
    confidence: NDArray[np.float64]
    level_db: NDArray[np.float64]


class Stream:
    """A causal network that hears a stream; :meth:`msdet.Separator.stream` makes one.

    An output comes :attr:`latency` seconds after its microphones' samples, and what a resampler
    takes where the stream has another sample rate than the network.

    Raises:
        InputError: the network looks at later frames; or the sample rate is none.
    """

    def __init__(self, checkpoint: Checkpoint, array: MicrophoneArray, sample_rate: int) -> None:
        model = checkpoint.model
        if not model.config.causal:
            raise InputError(
                f"{checkpoint.path}: this model looks at all of a recording; a stream needs one "
                "that was trained with model.causal=true, such as experiment=causal"
            )
        if not 0 < sample_rate < 10**7 or sample_rate != int(sample_rate):
            raise InputError(f"sample_rate={sample_rate}: must be hertz, a whole number")
        self._model, self._array, self._rate = model, array, int(sample_rate)
        self._memory, self._steering = Memory(), model.steering(array)
        rate, mics = model.sample_rate, array.num_mics
        self._inlet = BlockResampler(self._rate, rate, mics)
        self._outlet = BlockResampler(rate, self._rate, model.num_slots)
        self._sections = scipy.signal.butter(2, CUTOFF_HZ, "highpass", fs=rate, output="sos")
        self._filter_state: NDArray[np.float64] | None = None
        half, window = model.stft.window // 2, model.stft.window
        self._pending = self._recent = np.zeros((mics, 0), np.float32)
        self._begun, self._frames, self._settled = False, 0, -half
        self._overlap = np.zeros((model.num_slots + 1, window - model.stft.hop), np.float32)
        self._given = self._put_out = 0
        self._over = False

    @property
    def latency(self) -> float:
        """Seconds between a sample and its separated one, by the network's window and blocks."""
        stft = self._model.stft
        block = (self._model.track_stride - 1) * stft.hop
        return (stft.window + block) / self._model.sample_rate

    def push(self, audio: npt.ArrayLike) -> Heard:
        """Take the next piece of the stream; return what is settled by it.

        Args:
            audio: ``[mic, sample]``, any length, also none.

        Raises:
            InputError: another number of channels, NaN or infinity, or the stream is over. The
                stream is as it was before.
        """
        piece = self._checked(audio)
        return self._hear(self._filtered(self._inlet.feed(piece)), piece.shape[1], last=False)

    def finish(self) -> Heard:
        """End the stream; return what was still to come. All audio is as long as the stream."""
        rest = self._checked(np.zeros((self._array.num_mics, 0)))
        heard = self._hear(self._filtered(self._inlet.feed(rest, last=True)), 0, last=True)
        self._over = True
        return heard

    def _checked(self, audio: npt.ArrayLike) -> Audio:
        piece = np.asarray(audio, np.float32)
        if self._over:
            raise InputError("audio: this stream is over; begin another")
        if piece.ndim != 2 or len(piece) != self._array.num_mics:
            shape = " x ".join(map(str, piece.shape))
            raise InputError(
                f"audio: {shape} values; must be [mic, sample], the array {self._array.name!r} "
                f"has {self._array.num_mics} microphones"
            )
        if not np.isfinite(piece).all():
            raise InputError("audio: holds NaN or infinite samples")
        return piece

    def _filtered(self, audio: Audio) -> Audio:
        """Take offsets and rumble out, without a delay."""
        if not audio.shape[1]:
            return audio
        if self._filter_state is None:
            steady = scipy.signal.sosfilt_zi(self._sections)
            self._filter_state = steady[:, None] * audio[None, :, :1]
        filtered, self._filter_state = scipy.signal.sosfilt(
            self._sections, audio, zi=self._filter_state
        )
        return np.asarray(filtered, np.float32)

    def _hear(self, audio: Audio, given: int, last: bool) -> Heard:
        """Put what is whole through the network.

        Args:
            given: samples of the stream that this is made of.
        """
        self._given += given
        pending = np.concatenate([self._pending, audio], axis=1)
        half, hop = self._model.stft.window // 2, self._model.stft.hop
        self._recent = np.concatenate([self._recent, audio], axis=1)[:, -half - 1 :]
        if not self._begun and pending.shape[1] > half:
            pending = np.concatenate([pending[:, half:0:-1], pending], axis=1)
            self._begun = True
        if last and self._begun:
            pending = np.concatenate([pending, self._recent[:, -2::-1]], axis=1)
        frames = 0
        if self._begun:
            frames = max(0, (pending.shape[1] - 2 * half) // hop + 1)
            if not last:
                frames -= frames % self._model.track_stride
        most = _MOST_BLOCKS * self._model.track_stride
        parts = [
            self._through(pending[:, first * hop :], min(most, frames - first))
            for first in range(0, frames, most)
        ]
        self._pending = pending[:, frames * hop :]
        slots = self._model.num_slots
        nothing = np.zeros((slots, 0))
        voices, azimuth, confidence, level = (
            np.concatenate([nothing, *(part[kind] for part in parts)], axis=1) for kind in range(4)
        )
        if last:
            voices = np.concatenate([voices, self._settle(self._overlap)], axis=1)
        made = self._outlet.feed(np.asarray(voices, np.float32), last=last)
        if last:  # what a window reaches beyond the end goes, what a short stream lacks is silence
            missing = self._given - self._put_out
            made = np.pad(made[:, :missing], ((0, 0), (0, max(0, missing - made.shape[1]))))
        self._put_out += made.shape[1]
        stride = self._model.track_stride
        begun = (self._frames - frames) // stride
        moments = np.arange(begun, begun + azimuth.shape[1])
        return Heard(made, moments * self._model.track_seconds, azimuth, confidence, level)

    @torch.inference_mode()
    def _through(self, samples: Audio, frames: int) -> tuple[NDArray[np.floating], ...]:
        """Put frames through the network: audio ``[slot, sample]``, and azimuth, confidence and
        level ``[slot, moment]``."""
        model, stft = self._model, self._model.stft
        device, stride = stft.taper.device, model.track_stride
        each = torch.from_numpy(np.ascontiguousarray(samples)).to(device)
        windows = each.unfold(-1, stft.window, stft.hop)[:, :frames] * stft.taper
        spectra = torch.fft.rfft(windows).transpose(-2, -1)[None]
        found = model.estimate(spectra, self._steering, memory=self._memory)
        voices = torch.fft.irfft(found.spectra[0].transpose(-2, -1), stft.window) * stft.taper
        powers = power(found.spectra[0]).mean(dim=1).cpu().numpy()  # [slot, frame]
        starts = np.arange(0, frames, stride)
        counts = np.diff(np.append(starts, frames))
        level = 10 * np.log10(np.add.reduceat(powers, starts, axis=1) / counts + 1e-12)
        assert found.track_logits is not None  # a causal network has a span
        azimuth, confidence = self._directions(found.track_logits[0])
        audio = self._added(voices.cpu().numpy())
        self._frames += frames
        return audio, azimuth, confidence, level

    def _directions(self, logits: torch.Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Azimuths and how sure they are, ``[slot, moment]``, from ``[slot, moment, class]``."""
        found, posterior, empty = (x.cpu().numpy() for x in self._model.read(logits))
        grid = self._model.grid
        sure = [
            [mass_near(*one, grid) for one in zip(of_slot, degrees, strict=True)]
            for of_slot, degrees in zip(posterior, found, strict=True)
        ]
        return np.where(empty, np.nan, found), np.where(empty, 0.0, sure)

    def _added(self, windows: Audio) -> Audio:
        """Add windows ``[slot, frame, sample]`` to what overlaps them; return what is settled."""
        stft = self._model.stft
        taper = stft.taper.cpu().numpy()
        envelope = np.broadcast_to(np.square(taper), (1, *windows.shape[1:]))
        windows = np.concatenate([windows, envelope])
        count, kept = windows.shape[1], self._overlap.shape[1]
        out = np.zeros((len(windows), count * stft.hop + kept), np.float32)
        out[:, :kept] = self._overlap
        for number in range(count):
            out[:, number * stft.hop : number * stft.hop + stft.window] += windows[:, number]
        self._overlap = out[:, count * stft.hop :]
        return self._settle(out[:, : count * stft.hop])

    def _settle(self, summed: Audio) -> Audio:
        """Divide sums of windows by that of their tapers, the last row; leave out what is before
        the stream began."""
        settled = summed[:-1] / np.maximum(summed[-1], 1e-11)
        before = min(max(0, -self._settled), settled.shape[1])
        self._settled += settled.shape[1]
        return np.asarray(settled[:, before:], np.float32)
