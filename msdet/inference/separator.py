# SPDX-License-Identifier: Apache-2.0
"""A recording in, speakers and directions out: the public face of a trained model."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from numbers import Real
from pathlib import Path

import numpy as np
from numpy import typing as npt
from numpy.typing import NDArray

from msdet.checkpoints import Checkpoint, Description, load_checkpoint
from msdet.errors import InputError
from msdet.geometry import AzimuthGrid, MicrophoneArray
from msdet.inference.conditioning import conditioned, resampled
from msdet.inference.config import OVERLAP, WINDOW_SECONDS
from msdet.inference.examination import BLOCK_SECONDS, examine
from msdet.inference.guidance import checked_directions, missed
from msdet.inference.microphones import ArrayLike, served_array
from msdet.inference.options import Options, check_length, check_options
from msdet.inference.presence import PRESENT
from msdet.inference.separation import Separation
from msdet.inference.speakers import Speakers
from msdet.inference.speakers_file import Model, Origin, array_of, model_of
from msdet.inference.stitching import SHORTEST_SPEAKER, Assignment
from msdet.inference.stream import Stream
from msdet.inference.tracks import Sink, Tracker, Tracks
from msdet.inference.window_network import WindowNetwork
from msdet.workers import progress_bar

SPAN, FILTER_SPAN = 0.8, 2.0
"""Seconds, of a model that was not trained to follow people who walk (docs/separating.md)."""


class Separator:
    """A trained model, ready for recordings.

    >>> separator = msdet.load(checkpoint)
    >>> result = separator.separate(audio, sample_rate=8000)
    >>> result.audio.shape == (2, audio.shape[1])
    True
    >>> result.azimuth.shape, result.confidence.shape
    ((2,), (2,))
    >>> result.plot().savefig(folder / "result.png")
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    @property
    def description(self) -> Description:
        """The checkpoint's own description: array, sample rate, training, metrics."""
        return self._checkpoint.description

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self._checkpoint.path

    @property
    def grid(self) -> AzimuthGrid:
        """The azimuth classes."""
        return self._checkpoint.model.grid

    @cached_property
    def _model(self) -> Model:
        return model_of(self.description, self.path)

    def separate(
        self,
        audio: npt.ArrayLike,
        sample_rate: int,
        array: ArrayLike | None = None,
        *,
        azimuth: float | Sequence[float] | None = None,
        window_seconds: float = WINDOW_SECONDS,
        overlap: float = OVERLAP,
        num_speakers: int | None = None,
        max_speakers: int | None = None,
        moving: bool = False,
        progress: bool = False,
    ) -> Separation:
        """Separate and localise the speakers of one recording.

        Args:
            audio: ``[mic, sample]``, one channel per microphone, or all channels of a recording
                made by a product whose array says which of them are microphones.
            sample_rate: of ``audio``, hertz; any.
            array: the microphones: an array or the name of one, positions ``[mic][3]`` in metres or
                a file of them (JSON or CSV); None for the array that the model was trained with.
            azimuth: the speaker in this direction, or the speakers in these, in this order and no
                others; degrees in the array's frame. None puts out all that are found; outputs
                from closer together than any two speakers of training are one speaker's. The model
                must have been trained with guidance by direction. Asking for fewer than it has
                outputs takes twice as long: it first finds where the others are.
            window_seconds: of the windows in which it goes through the network; the last one is
                half as long at least, and less than half longer.
            overlap: share of a window that the next one has too, half at most.
            num_speakers: people in the recording, where that is known: as many are put out, as far
                as the model can separate them. None puts out whoever is more likely a speaker
                than not.
            max_speakers: people in the recording at most, where that is known: those who speak
                most.
            moving: people walk about: they are followed, by directions and beams of moments (see
                *Separating*), and ``track`` of the result says where they were.
            progress: show on stderr how much is done, and how long the rest will take.

        >>> asked = separator.separate(audio, 8000, azimuth=[200, 40])
        >>> asked.audio.shape[0]
        2
        >>> separator.separate(audio[:3], 8000)
        Traceback (most recent call last):
        ...
        msdet.errors.InputError: audio: 3 channels, but the array 'circle4' has 4 microphones

        Raises:
            InputError: the recording is mono, silent, too short, holds NaN, or does not fit the
                array; the model serves its own array only, or follows no directions.
        """
        options = Options(azimuth, window_seconds, overlap, num_speakers, max_speakers, moving)
        microphones = self.array_for(array)
        check_options(options, self.description)
        channels = _checked_audio(audio, sample_rate, microphones)
        check_length(channels.shape[1], sample_rate, self.description)
        try:
            examined, assumed = _blocks(channels, sample_rate), array is None
            names = [f"channel {mic}" for mic in range(microphones.num_mics)]
            _, early = examine(examined, microphones, sample_rate, self.description, names, assumed)
        except InputError as error:
            raise InputError(f"audio: {error}") from error
        rate, seconds = self.description.sample_rate, channels.shape[1] / sample_rate
        blocks = _blocks(resampled(channels, sample_rate, rate), rate)
        pieces: dict[int, list[NDArray[np.float32]]] = defaultdict(list)
        with seconds_done("audio", seconds, rate, progress) as counted:
            found, kept = self.track(
                counted(blocks),
                microphones,
                options,
                lambda track, piece: pieces[track].append(piece),
            )
        voices = np.zeros((len(kept), channels.shape[1]), np.float32)
        for voice, track in zip(voices, kept, strict=True):
            back = resampled(np.concatenate(pieces[track])[None], rate, sample_rate)[0]
            voice[: len(back)] = back[: len(voice)]
        digest = hashlib.sha256(channels.tobytes()).hexdigest()[:8]
        return Separation(
            audio=voices,
            sample_rate=sample_rate,
            origin=self.origin("audio", digest, sample_rate, microphones, options),
            **vars(replace(found, warnings=(*early, *found.warnings))),
        )

    def stream(self, sample_rate: int, array: ArrayLike | None = None) -> Stream:
        """Begin to separate and localise a stream as it comes; only a causal model can.

        Args:
            sample_rate: of the stream, hertz; any.
            array: as of :meth:`separate`.

        >>> stream = live.stream(8000)
        >>> pieces = [stream.push(audio[:, :4000]), stream.push(audio[:, 4000:]), stream.finish()]
        >>> sum(heard.audio.shape[1] for heard in pieces) == audio.shape[1]
        True

        Raises:
            InputError: the model looks at all of a recording (it was trained without
                ``model.causal=true``), or does not fit the array.
        """
        return Stream(self._checkpoint, self.array_for(array), sample_rate)

    def track(
        self,
        blocks: Iterable[NDArray[np.float32]],
        array: MicrophoneArray,
        options: Options,
        sink: Sink,
    ) -> tuple[Speakers, list[int]]:
        """Separate a recording of any length as it comes, in memory that does not grow with it.

        Args:
            blocks: ``[mic, sample]``, any length each, finite, at the model's sample rate.
            array: from :meth:`array_for`. options: checked by :func:`check_options`.
            sink: gets each track's audio at the model's sample rate.
        Returns:
            The speakers (of directions that were asked for, in their order; with a warning for
            each who was not found), and which track is whose.
        """
        description, linear = self.description, self.grid.linear
        overlap = int(options.overlap * round(options.window_seconds * description.sample_rate))
        asked = assignment = None
        if options.azimuth is None:
            limit = options.num_speakers or options.max_speakers
            assignment = Assignment(overlap, linear, limit)
        else:
            asked = checked_directions(options.azimuth, description)
        checkpoint = following(self._checkpoint) if options.moving else self._checkpoint
        tracker = Tracker(
            WindowNetwork(checkpoint, array, asked),
            assignment,
            length=round(options.window_seconds * description.sample_rate),
            overlap=overlap,
            sample_rate=description.sample_rate,
            reference_mic=description.reference_mic,
            num_speakers=options.num_speakers,
        )
        tracks = tracker.run(conditioned(blocks, description.sample_rate, array.num_mics), sink)
        kept = _speakers(tracks, options)
        if asked is not None:
            told = missed(asked, kept)
        else:
            told = self._unsure(options.num_speakers, tracks, kept)
        return Speakers.of_tracks(tracks, kept, self.grid, told), kept

    def _unsure(self, asked: int | None, tracks: Tracks, kept: list[int]) -> list[str]:
        """Return a sentence for each speaker who is there only because of ``num_speakers``."""
        if asked is None:
            return []
        sure = [tracks.tracks[track].presence for track in kept]
        said = [
            f"num_speakers={asked}: speaker {number} is put out for its sake; it is "
            f"more likely nobody ({presence:.0%} sure)"
            for number, presence in enumerate(sure, 1)
            if presence < PRESENT
        ]
        if len(kept) < asked:
            said.append(
                f"num_speakers={asked}: {len(kept)} were found; the model separates "
                f"at most {self.description.trained_speakers[1]} who speak at one time"
            )
        return said

    def origin(
        self,
        recording: str,
        recording_id: str | None,
        sample_rate: int,
        array: MicrophoneArray,
        options: Options,
        channels: Sequence[int] | None = None,
        files: Sequence[str] = (),
    ) -> Origin:
        """Return what ``speakers.json`` says of where a recording's speakers come from.

        Args:
            channels: which of them are the microphones; None for all. files: see `Origin`.
        """
        picks = range(array.num_mics) if channels is None else channels
        return Origin(
            recording,
            recording_id,
            sample_rate,
            self._model,
            array_of(array, picks, self.description.reference_mic),
            options.as_plain(),
            files,
        )

    def array_for(self, array: ArrayLike | None) -> MicrophoneArray:
        """Return the microphones, seen to be such as this model serves.

        Raises:
            InputError: it does not serve them, or they are no microphones.
        """
        return served_array(array, self.description)


def following(checkpoint: Checkpoint) -> Checkpoint:
    """Return a network of the same weights that looks at moments, to follow people who walk."""
    model, heads = checkpoint.model, checkpoint.model.config.heads
    spans = heads.span or SPAN, heads.filter_span or FILTER_SPAN
    return replace(checkpoint, model=model.with_spans(*spans))


def _speakers(tracks: Tracks, options: Options) -> list[int]:
    """The tracks that are put out, in their order."""
    spoken = tracks.spoken_seconds()
    everyone = range(len(spoken))
    if options.azimuth is not None:
        return [track for track in everyone if tracks.tracks[track].presence and spoken[track]]
    by_speech = sorted(everyone, key=lambda track: -spoken[track])
    several = len(tracks.window_times) > 1
    if options.num_speakers is not None:
        heard_of = [track for track in by_speech if spoken[track] or not several]
        return sorted(heard_of[: options.num_speakers])
    speaking = [track for track in by_speech if spoken[track]]
    if several:
        longer = [track for track in speaking if spoken[track] >= SHORTEST_SPEAKER]
        speaking = longer or speaking
    return sorted(speaking[: options.max_speakers])


def _blocks(audio: NDArray[np.float32], sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """The blocks in which a file would be read, of ``[mic, sample]``."""
    step = round(BLOCK_SECONDS * sample_rate)
    return (audio[:, i : i + step] for i in range(0, audio.shape[1], step))


def _checked_audio(
    audio: npt.ArrayLike, sample_rate: int, array: MicrophoneArray
) -> NDArray[np.float32]:
    """The microphones' channels ``[mic, sample]`` as float32."""
    samples = np.asarray(audio)
    if samples.ndim != 2:
        raise InputError(
            f"audio: must be [mic, sample], one row a microphone, got shape {samples.shape}; "
            "a mono recording holds no directions"
        )
    rate: object = sample_rate
    if not (isinstance(rate, Real) and 0 < float(rate) < math.inf):
        raise InputError(f"sample_rate={sample_rate!r}: must be a positive number of hertz")
    microphones = array.microphones_of(len(samples))
    if microphones is None:
        swapped = "; is it [sample, mic]?" if samples.shape[1] == array.num_mics else ""
        raise InputError(
            f"audio: {len(samples)} channels, but the array {array.name!r} has {array.num_mics} "
            f"microphones{swapped}"
        )
    samples = samples[list(microphones)]
    if not samples.shape[1]:
        raise InputError("audio: holds no samples")
    if samples.dtype.kind not in "fi":
        raise InputError(f"audio: is of type {samples.dtype}; give floats or signed integers")
    if np.issubdtype(samples.dtype, np.signedinteger):  # full scale is 1, as soundfile reads it
        samples = samples / -float(np.iinfo(samples.dtype).min)
    return np.ascontiguousarray(samples, np.float32)


@contextmanager
def seconds_done(
    title: str, seconds: float, sample_rate: int, shown: bool
) -> Iterator[Callable[[Iterable[NDArray[np.float32]]], Iterator[NDArray[np.float32]]]]:
    """Show on stderr how many seconds of a recording are done; gives what counts its blocks.

    Args:
        seconds: of the recording. sample_rate: of the blocks ``[mic, sample]``.
    """
    with progress_bar(f"{title} (s)", disable=not shown) as bar:
        task = bar.add_task("", total=round(seconds))

        def counted(blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
            done = 0
            for block in blocks:
                yield block
                done += block.shape[1]  # it was used when the next one is asked for
                bar.update(task, completed=done // sample_rate)

        yield counted


def load(path: str | Path, device: str = "cpu", *, trust: bool = False) -> Separator:
    """Load a model from ``model.ckpt`` or ``last.ckpt``, or one that ships with msdet, by its name
    (``msdet models`` lists them).

    Args:
        device: where it computes, such as ``cuda``, as torch names it.
        trust: import and run the classes outside msdet that the checkpoint names. Such a class is
            code: give True for checkpoints of people whom you trust.
    Raises:
        InputError: no such file or name, damaged, or not a checkpoint of this project; it names
            classes outside msdet and is not trusted; there is no such device.
    """
    checkpoint = load_checkpoint(path, trust=trust)
    try:
        checkpoint.model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        first = str(error).splitlines()[0]
        raise InputError(f"device={device}: cannot be used ({first})") from error
    return Separator(checkpoint)
