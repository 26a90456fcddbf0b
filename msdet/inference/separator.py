# SPDX-License-Identifier: Apache-2.0
"""A recording in, speakers and directions out: the public face of a trained model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from numbers import Integral, Real
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msdet.checkpoints import Checkpoint, Description, load_checkpoint
from msdet.errors import InputError
from msdet.geometry import AzimuthGrid, MicrophoneArray
from msdet.high_pass import HighPass
from msdet.inference.asked import check_asked, missed
from msdet.inference.clicks import declicked
from msdet.inference.estimates import WindowNetwork
from msdet.inference.examination import Examination
from msdet.inference.presence import PRESENT
from msdet.inference.resampling import resampled
from msdet.inference.result import Separation, findings_of, spoken_of
from msdet.inference.speakers_file import Model, SeparatedWith, Source, array_of, model_of
from msdet.inference.stitching import SHORTEST_SPEAKER, Stitching, make_stitcher
from msdet.inference.tracks import Heard, MemorySink, Sink, Tracker
from msdet.inference.unlike_training import how_to_train, needs
from msdet.named_arrays import check_metres, find_array
from msdet.workers import progress_bar

WINDOW_SECONDS = 8.0
"""Shorter ones hold one speaker alone more often, longer ones more people than a model puts out."""

OVERLAP = 0.125
"""Of a window. What two share is computed twice, and tells whose output is whose in the next."""

_BLOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Options:
    """How a recording is separated; see :meth:`Separator.separate`."""

    azimuth: float | Sequence[float] | None = None
    window_seconds: float = WINDOW_SECONDS
    overlap: float = OVERLAP
    stitching: Stitching = "direction_and_voice"
    num_speakers: int | None = None
    max_speakers: int | None = None


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
        """What the checkpoint says of itself: array, sample rate, training, metrics."""
        return self._checkpoint.description

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self._checkpoint.path

    @cached_property
    def model(self) -> Model:
        """What ``speakers.json`` says of the checkpoint."""
        return model_of(self.description, self.path)

    def settings(self, options: Options) -> SeparatedWith:
        """What ``speakers.json`` says of how a recording was separated."""
        asked = None if options.azimuth is None else np.atleast_1d(options.azimuth)
        known, most = options.num_speakers, options.max_speakers
        return SeparatedWith(  # of Python's own types, whatever numbers were given
            azimuth=None if asked is None else tuple(float(one) for one in asked),
            window_seconds=float(options.window_seconds),
            overlap=float(options.overlap),
            stitching=options.stitching,
            num_speakers=None if known is None else int(known),
            max_speakers=None if most is None else int(most),
        )

    @property
    def grid(self) -> AzimuthGrid:
        """The azimuth classes."""
        return self._checkpoint.model.grid

    def separate(
        self,
        audio: ArrayLike,
        sample_rate: int,
        array: MicrophoneArray | Sequence[Sequence[float]] | str | Path | None = None,
        *,
        azimuth: float | Sequence[float] | None = None,
        window_seconds: float = WINDOW_SECONDS,
        overlap: float = OVERLAP,
        stitching: Stitching = "direction_and_voice",
        num_speakers: int | None = None,
        max_speakers: int | None = None,
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
            stitching: which output of a window is whose: ``direction_and_voice`` follows as many
                speakers as come and go, ``permutation`` as many as the model has outputs.
            num_speakers: people in the recording, where that is known: as many are put out, as far
                as the model can separate them. None puts out whoever is more likely a speaker
                than not.
            max_speakers: people in the recording at most, where that is known: those who speak
                most.
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
        options = Options(azimuth, window_seconds, overlap, stitching, num_speakers, max_speakers)
        microphones = self.array_for(array)
        self.check(options)
        channels = _check_audio(audio, sample_rate, microphones)
        self.check_length(channels.shape[1], sample_rate)
        early = self._examine(channels, sample_rate, microphones, assumed=array is None)
        native = resampled(channels, sample_rate, self.description.sample_rate)
        step = round(_BLOCK_SECONDS * self.description.sample_rate)
        blocks = (native[:, i : i + step] for i in range(0, native.shape[1], step))
        sink, seconds = MemorySink(), channels.shape[1] / sample_rate
        with seconds_done("audio", seconds, self.description.sample_rate, progress) as counted:
            heard, kept, warnings = self.track(counted(blocks), microphones, options, sink)
        voices = np.zeros((len(kept), channels.shape[1]), np.float32)
        for voice, track in zip(voices, kept, strict=True):
            back = resampled(sink.audio(track)[None], self.description.sample_rate, sample_rate)[0]
            voice[: len(back)] = back[: len(voice)]
        findings = findings_of(heard, kept, self.grid, self.description.sample_rate)
        source = Source(
            "audio",
            hashlib.sha256(channels.tobytes()).hexdigest()[:8],
            sample_rate,
            self.model,
            array_of(microphones, range(microphones.num_mics), self.description.reference_mic),
            self.settings(options),
        )
        return Separation(
            audio=voices,
            sample_rate=sample_rate,
            source=source,
            warnings=(*early, *warnings),
            **findings,
        )

    def track(
        self,
        blocks: Iterable[NDArray[np.float32]],
        array: MicrophoneArray,
        options: Options,
        sink: Sink,
    ) -> tuple[Heard, list[int], list[str]]:
        """Separate a recording of any length as it comes, in memory that does not grow with it.

        Args:
            blocks: ``[mic, sample]``, any length each, finite, at the model's sample rate.
            array: from :meth:`array_for`. options: checked by :meth:`check`.
            sink: gets each track's audio at the model's sample rate.
        Returns:
            What was heard of all tracks, which of them are speakers (of directions that were asked
            for, each is a track, in their order), and a sentence for each who was not found.
        """
        model, description = self._checkpoint.model, self.description
        length = round(options.window_seconds * description.sample_rate)
        overlap = int(options.overlap * length)
        asked = None
        if options.azimuth is not None:
            asked = check_asked(options.azimuth, description)
        stitcher = None
        if asked is None:
            stitcher = make_stitcher(
                options.stitching,
                overlap=overlap,
                num_slots=model.num_slots,
                linear=model.grid.linear,
                max_speakers=options.num_speakers or options.max_speakers,
            )
        network = WindowNetwork(self._checkpoint, array, asked)
        tracker = Tracker(
            network,
            stitcher,
            length,
            overlap,
            description.sample_rate,
            description.reference_mic,
            options.num_speakers,
        )
        high_pass = HighPass(description.sample_rate)
        rate = description.sample_rate
        filtered = (high_pass.feed(declicked(block, rate)) for block in blocks)
        heard = tracker.run(chain(filtered, _rest(high_pass, array)), sink)
        kept = _speakers(heard, options, description.sample_rate)
        return heard, kept, self._not_found(options, heard, kept)

    def _not_found(self, options: Options, heard: Heard, kept: list[int]) -> list[str]:
        if options.azimuth is not None:
            return missed(check_asked(options.azimuth, self.description), kept)
        if options.num_speakers is None:
            return []
        said = [
            f"num_speakers={options.num_speakers}: speaker {number} is put out for its sake; it is "
            f"more likely nobody ({heard.records[track].presence:.0%} sure)"
            for number, track in enumerate(kept, 1)
            if heard.records[track].presence < PRESENT
        ]
        if len(kept) < options.num_speakers:
            said.append(
                f"num_speakers={options.num_speakers}: {len(kept)} were found; the model separates "
                f"at most {self.description.trained_speakers[1]} who speak at one time"
            )
        return said

    def _examine(
        self,
        channels: NDArray[np.float32],
        sample_rate: int,
        array: MicrophoneArray,
        assumed: bool,
    ) -> list[str]:
        """What there is to warn of in ``[mic, sample]``."""
        mics = range(array.num_mics)
        names = [f"channel {channel}" for channel in mics]
        examination = Examination(array, sample_rate, self.description, mics, names, assumed)
        step = round(_BLOCK_SECONDS * sample_rate)
        try:
            for start in range(0, channels.shape[1], step):
                examination.add(channels[:, start : start + step])
            return examination.warnings()
        except InputError as error:
            raise InputError(f"audio: {error}") from error

    def check(self, options: Options) -> None:
        """Whether the model can do what is asked.

        Raises:
            InputError: names what it cannot.
        """
        description = self.description
        if options.azimuth is not None:
            check_asked(options.azimuth, description)
        elif description.model.heads.guidance == "oracle":
            raise InputError(
                "this model's masks are guided by true azimuths (model.heads.guidance=oracle), and "
                "it finds none itself: give azimuth, the directions of its speakers"
            )
        shortest = 4 * description.model.stft.window / description.sample_rate
        if not shortest <= options.window_seconds < math.inf:
            raise InputError(
                f"window_seconds={options.window_seconds}: must be at least {shortest:.3f}, "
                "four of the model's transform windows"
            )
        if not 0 < options.overlap <= 0.5:
            raise InputError(f"overlap={options.overlap}: must be above 0 and at most 0.5")
        if options.overlap * options.window_seconds < shortest / 4:
            raise InputError(
                f"overlap={options.overlap}: windows of {options.window_seconds:g} s would share "
                f"less than {shortest / 4:.3f} s, one of the model's transform windows"
            )
        if options.stitching not in get_args(Stitching):
            raise InputError(
                f"stitching={options.stitching!r}: choose from {', '.join(get_args(Stitching))}"
            )
        for key in ("num_speakers", "max_speakers"):
            count = getattr(options, key)
            if count is not None and not _is_positive(count, Integral):
                raise InputError(f"{key}={count!r}: must be a whole number, at least 1")
        if options.num_speakers is not None and options.max_speakers is not None:
            raise InputError(
                f"max_speakers={options.max_speakers} beside num_speakers={options.num_speakers}: "
                "say how many there are, or how many there are at most"
            )
        if options.num_speakers is not None and options.azimuth is not None:
            raise InputError(
                f"num_speakers={options.num_speakers} beside azimuth={options.azimuth}: as many "
                "are put out as directions are asked for; leave one of them out"
            )

    def check_length(self, num_samples: int, sample_rate: int) -> None:
        """Refuse what is shorter than one window of the model's transform."""
        window = self.description.model.stft.window / self.description.sample_rate
        if num_samples / sample_rate < window:
            raise InputError(
                f"audio: {num_samples} samples at {sample_rate} Hz are too short; the model "
                f"needs at least {window:.3f} s"
            )

    def array_for(
        self, array: MicrophoneArray | Sequence[Sequence[float]] | str | Path | None
    ) -> MicrophoneArray:
        """The microphones, seen to be such as this model serves.

        Raises:
            InputError: it does not serve them, or they are no microphones.
        """
        trained = self.description.array
        if array is None:
            return trained
        if isinstance(array, str | Path):
            array = find_array(str(array))
        if not isinstance(array, MicrophoneArray):
            try:
                positions = tuple(tuple(float(x) for x in point) for point in array)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"array: positions are [[x, y, z], ...] in metres, got {array!r}"
                ) from error
            array = MicrophoneArray("custom", positions)  # type: ignore[arg-type]
        check_metres(array)
        if not self.description.model.frontend.any_array and array.positions != trained.positions:
            raise InputError(
                f"array {array.name!r}: this model's frontend 'ri' serves only the array that it "
                f"was trained with ({trained.name!r}); the frontend 'directional' serves any; "
                f"{how_to_train(array, array.is_linear)}"
            )
        reference = self.description.reference_mic
        if reference >= array.num_mics:
            raise InputError(
                f"array {array.name!r}: has {array.num_mics} microphones, but this model's "
                f"reference is microphone {reference}"
            )
        if array.is_linear != trained.is_linear:
            kind = "on a line" if array.is_linear else "not on a line"
            raise InputError(
                f"array {array.name!r}: its {array.num_mics} microphones are {kind}, and this "
                f"model needs {needs(self.description)}; {how_to_train(array, array.is_linear)}"
            )
        return array


def _rest(high_pass: HighPass, array: MicrophoneArray) -> Iterator[NDArray[np.float32]]:
    """What a filter still holds when all of a recording went in."""
    yield high_pass.feed(np.zeros((array.num_mics, 0), np.float32), last=True)


def _speakers(heard: Heard, options: Options, sample_rate: int) -> list[int]:
    """The tracks that are put out, in their order."""
    everyone = list(range(len(heard.records)))
    spoken = spoken_of(heard, sample_rate)
    if options.azimuth is not None:
        return [t for t in everyone if heard.records[t].presence and spoken[t]]
    by_speech = sorted(everyone, key=lambda track: -spoken[track])
    several = len(heard.window_times) > 1
    if options.num_speakers is not None:
        heard_of = [track for track in by_speech if spoken[track] or not several]
        return sorted(heard_of[: options.num_speakers])
    speaking = [track for track in by_speech if spoken[track]]
    if several:
        longer = [track for track in speaking if spoken[track] >= SHORTEST_SPEAKER]
        speaking = longer or speaking
    return sorted(speaking[: options.max_speakers])


def _is_positive(value: object, kind: Any = Real) -> bool:
    return isinstance(value, kind) and 0 < value < math.inf


def _check_audio(audio: ArrayLike, sample_rate: int, array: MicrophoneArray) -> NDArray[np.float32]:
    """The microphones' channels ``[mic, sample]`` as float32."""
    samples = np.asarray(audio)
    if samples.ndim != 2:
        raise InputError(
            f"audio: must be [mic, sample], one row a microphone, got shape {samples.shape}; "
            "a mono recording holds no directions"
        )
    if not _is_positive(sample_rate):
        raise InputError(f"sample_rate={sample_rate!r}: must be a positive number of hertz")
    count = len(samples)
    microphones = array.microphones_of(count)
    if microphones is None:
        swapped = "; is it [sample, mic]?" if samples.shape[1] == array.num_mics else ""
        raise InputError(
            f"audio: {count} channels, but the array {array.name!r} has {array.num_mics} "
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


def load(path: str | Path, device: str = "cpu") -> Separator:
    """A model from a checkpoint file, ``model.ckpt`` or ``last.ckpt``, or one that ships with
    msdet, by its name (``msdet models`` lists them).

    Args:
        device: where it computes, such as ``cuda``, as torch names it.
    Raises:
        InputError: no such file or name, damaged, or not a checkpoint of this project; there is
            no such device.
    """
    checkpoint = load_checkpoint(path)
    try:
        checkpoint.model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        first = str(error).splitlines()[0]
        raise InputError(f"device={device}: cannot be used ({first})") from error
    return Separator(checkpoint)
