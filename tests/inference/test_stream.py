# SPDX-License-Identifier: Apache-2.0
"""Streams: pieces of any length are heard as the network hears the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msdet.checkpoints import Checkpoint, Description
from msdet.errors import InputError
from msdet.inference.separator import Separator
from msdet.inference.stream import Heard, Stream
from msdet.models.msdet import MSDET

RATE = 8000
Make = Callable[..., Separator]
CAUSAL = {"causal": True, "span": 0.2, "filter_span": 0.4}


@pytest.fixture(scope="module")
def separator_of(make_model: Callable[..., MSDET], describe: Callable[..., Description]) -> Make:
    def made(**kind: object) -> Separator:
        model = make_model(**{**CAUSAL, **kind}).eval()
        described = describe(model, weight=0.97)
        stored = Description.model_validate(described.model_dump(mode="json"))
        return Separator(Checkpoint(Path("model.ckpt"), model, stored))

    return made


@pytest.fixture(scope="module")
def separator(separator_of: Make) -> Separator:
    return separator_of(beamformer="steered")


@pytest.fixture
def unfiltered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "_filtered", lambda self, audio: audio)


def audio_of(samples: int, mics: int = 4) -> NDArray[np.float32]:
    generator = np.random.default_rng(samples)
    return 0.1 * generator.standard_normal((mics, samples)).astype(np.float32)


def joined(pieces: list[Heard]) -> Heard:
    return Heard(
        **{
            name: np.concatenate([getattr(piece, name) for piece in pieces], axis=-1)
            for name in vars(pieces[0])
        }
    )


def streamed(stream: Stream, audio: NDArray[np.float32], lengths: list[int]) -> Heard:
    """Push pieces of these lengths, again and again."""
    pieces, first, number = [], 0, 0
    while first < audio.shape[1]:
        length = lengths[number % len(lengths)]
        pieces.append(stream.push(audio[:, first : first + length]))
        first, number = first + length, number + 1
    return joined([*pieces, stream.finish()])


@pytest.mark.parametrize("samples", [6000, 6001, 6400, 65, 129, 700])
@pytest.mark.parametrize("lengths", [[10**6], [320], [1, 0, 777, 64]])
def test_a_stream_is_heard_as_the_network_hears_the_whole(
    separator: Separator, unfiltered: None, samples: int, lengths: list[int]
) -> None:
    audio, model = audio_of(samples), separator._checkpoint.model
    with torch.inference_mode():
        output = model(torch.from_numpy(audio)[None])
    expected = output.audio[0].numpy()
    found = streamed(separator.stream(RATE), audio, lengths)
    assert found.audio.shape == expected.shape
    error = np.square(found.audio - expected).mean() / np.square(expected).mean()
    assert error < 1e-8
    located = model.locate(output)
    assert located is not None
    assert located.track is not None
    gaps = np.abs((found.azimuth - located.track[0].numpy() + 180) % 360 - 180)
    assert gaps.shape == (model.num_slots, len(found.seconds))
    assert np.median(gaps) < 1e-3
    assert np.allclose(np.diff(found.seconds), model.track_seconds)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    assert found.audio.dtype == np.float32


def test_what_is_put_out_lags_by_no_more_than_the_latency(separator: Separator) -> None:
    stream = separator.stream(RATE)
    put_out, pushed = 0, 0
    assert stream.latency == pytest.approx(0.048)
    for _ in range(100):
        put_out += stream.push(audio_of(40)).audio.shape[1]
        pushed += 40
        assert pushed - put_out <= round(0.048 * RATE)


def test_other_rates_are_resampled_in_both_ways(separator: Separator) -> None:
    found = streamed(separator.stream(44100), audio_of(44100), [441])
    assert found.audio.shape == (2, 44100)
    spectrum = np.abs(np.fft.rfft(found.audio, axis=1)) ** 2
    assert spectrum[:, 4200:].sum() < 1e-3 * spectrum.sum()


def test_offsets_are_taken_out(separator: Separator) -> None:
    offset = np.full((4, 8000), 0.5, np.float32)
    found = streamed(separator.stream(RATE), offset, [400])
    assert np.abs(found.audio).max() < 1e-3


def test_levels_are_those_of_the_outputs(separator: Separator) -> None:
    found = streamed(separator.stream(RATE), audio_of(RATE), [400])
    heard = 10 * np.log10(np.square(found.audio).mean(axis=1))
    mean = 10 * np.log10((10 ** (found.level_db / 10)).mean(axis=1))
    assert np.abs(heard - mean).max() < 1.0


def test_what_is_empty_has_no_direction(separator_of: Make) -> None:
    separator = separator_of(empty_slots=True)
    head = separator._checkpoint.model.fine_head
    assert head is not None
    assert head.nobody is not None
    torch.nn.init.constant_(head.nobody.bias, 1e3)
    found = streamed(separator.stream(RATE), audio_of(RATE), [400])
    assert np.isnan(found.azimuth).all()
    assert not found.confidence.any()


def test_streams_of_one_model_do_not_hear_each_other(separator: Separator) -> None:
    first, second = separator.stream(RATE), separator.stream(RATE)
    audio = audio_of(4000)
    alone = streamed(separator.stream(RATE), audio, [500])
    pieces = []
    for start in range(0, 4000, 500):
        second.push(-audio[::-1, start : start + 500])
        pieces.append(first.push(audio[:, start : start + 500]))
    assert np.array_equal(joined([*pieces, first.finish()]).audio, alone.audio)


@pytest.mark.parametrize("samples", [0, 1, 32, 64])
def test_streams_too_short_for_a_window_are_silent(separator: Separator, samples: int) -> None:
    found = streamed(separator.stream(RATE), audio_of(samples), [100])
    assert found.audio.shape == (2, samples)
    assert not found.audio.any()


# --- what is refused ----------------------------------------------------------------------


def test_a_mistake_leaves_the_stream_as_it_was(separator: Separator) -> None:
    stream, audio = separator.stream(RATE), audio_of(4000)
    pieces = [stream.push(audio[:, :1500])]
    for wrong, words in (
        (audio[:3, :100], "3 x 100 values; must be [mic, sample], the array 'circle4' has 4"),
        (audio[0, :100], "100 values"),
        (np.full((4, 10), np.nan), "NaN or infinite"),
    ):
        with pytest.raises(InputError) as caught:
            stream.push(wrong)
        assert words in str(caught.value)
    pieces += [stream.push(audio[:, 1500:]), stream.finish()]
    alone = streamed(separator.stream(RATE), audio, [1500, 2500])
    assert np.array_equal(joined(pieces).audio, alone.audio)
    with pytest.raises(InputError, match="this stream is over"):
        stream.push(audio)
    with pytest.raises(InputError, match="this stream is over"):
        stream.finish()


def test_a_network_that_looks_ahead_is_refused(separator_of: Make) -> None:
    with pytest.raises(InputError, match="looks at all of a recording"):
        separator_of(causal=False).stream(RATE)


@pytest.mark.parametrize("rate", [0, -1, 8000.5, float("nan"), 10**9])
def test_a_rate_that_is_none_is_refused(separator: Separator, rate: float) -> None:
    with pytest.raises(InputError, match="sample_rate"):
        separator.stream(rate)  # type: ignore[arg-type]
