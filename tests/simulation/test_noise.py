# SPDX-License-Identifier: Apache-2.0
"""Sensor noise, backgrounds and their levels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import csd, welch

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation import (
    Example,
    Scene,
    SceneConfig,
    check_scene_config,
    compute_rirs,
    render,
    render_parts,
)
from msdet.simulation.diffuse import diffuse_coherence
from msdet.simulation.noise import background_noise, sensor_noise
from msdet.simulation.noise_sources import _open_folder, open_recordings

RATE = 8000
Draw = Callable[..., Scene]


def config(kind: str, **background: Any) -> SceneConfig:
    """Scenes with a background of a kind at 0 dB; the microphones' own noise is far below."""
    return SceneConfig.model_validate(
        {
            "rirs": "hybrid",
            "snr_db": (80, 80),
            "background": {"kinds": [kind], "snr_db": (0, 0), **background},
        }
    )


def coherence(signals: NDArray[np.float32], size: int = 256) -> NDArray[np.float64]:
    """Real part ``[freq, mic, mic]`` of signals ``[mic, sample]``."""
    pairs = [[csd(a, b, RATE, nperseg=size)[1] for b in signals] for a in signals]
    cross = np.moveaxis(np.array(pairs), -1, 0)
    power = np.sqrt(np.einsum("fii->fi", cross).real)
    return np.asarray((cross / (power[:, :, None] * power[:, None])).real)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three recordings of 5 s, in folders and at rates of their own; one has two channels."""
    rng = np.random.default_rng(1)
    for number, rate in enumerate((8000, 16000, 44100)):
        noise = 0.1 * rng.standard_normal((5 * rate, 1 + number % 2))
        path = tmp_path / "noise" / f"place{number}" / "a.flac"
        path.parent.mkdir(parents=True)
        soundfile.write(path, noise, rate)
    return tmp_path / "noise"


def test_sensor_noise_is_white_gaussian_and_independent() -> None:
    noise = sensor_noise(3, 4, 50001)
    assert noise.shape == (4, 50001)
    assert noise.dtype == np.float32
    np.testing.assert_allclose(np.cov(noise), np.eye(4), atol=0.03)
    assert abs(noise.mean()) < 0.01
    assert np.mean(noise**4) == pytest.approx(3.0, abs=0.1)  # kurtosis of a Gaussian
    _, density = welch(noise, nperseg=128)
    np.testing.assert_allclose(density[:, 1:-1] / density[:, 1:-1].mean(), 1.0, atol=0.35)
    np.testing.assert_array_equal(noise, sensor_noise(3, 4, 50001))
    assert np.abs(noise - sensor_noise(4, 4, 50001)).max() > 1


@pytest.mark.parametrize("kind", ["diffuse", "babble", "point"])
def test_a_background_has_its_level(kind: str, draw: Draw, corpus: Any, circle: Any) -> None:
    scene = draw(config(kind))
    assert scene.background is not None
    parts = render_parts(scene, corpus, compute_rirs(scene.room, circle, RATE))
    speech = parts.images[:, 0].sum(axis=0)
    assert 10 * np.log10(np.var(speech) / np.var(parts.noise[0])) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("kind", ["diffuse", "babble", "point"])
def test_parts_sum_to_the_mixture(kind: str, draw: Draw, corpus: Any, circle: Any) -> None:
    chosen = config(kind).model_copy(
        update={
            "imperfections": SceneConfig.model_validate(
                {"imperfections": {"gain_db": 2.0, "phase": 20.0}}
            ).imperfections
        }
    )
    scene = draw(chosen)
    rirs = compute_rirs(scene.room, circle, RATE)
    parts, example = render_parts(scene, corpus, rirs), render(scene, corpus, rirs)
    total = parts.images.sum(axis=0) + parts.noise
    np.testing.assert_allclose(total, example.mixture, atol=2e-5)


@pytest.mark.parametrize("kind", ["diffuse", "babble"])
def test_a_diffuse_background_has_the_coherence_of_a_diffuse_field(
    kind: str, draw: Draw, corpus: Any
) -> None:
    wide = MicrophoneArray("wide", ((0, 0, 0), (0.1, 0, 0), (0, 0.25, 0)))
    scene = draw(config(kind, talkers=(8, 8)), array=wide, num_samples=30 * RATE)
    noise = background_noise(scene, corpus, compute_rirs(scene.room, wide, RATE))
    found = coherence(noise)
    frequency = np.fft.rfftfreq(256, 1 / RATE)
    spoken = (frequency > 200) & (frequency < 3000)
    expected = diffuse_coherence(wide.as_array(), frequency)
    error = np.abs(found - expected)[spoken]
    # Speech of 30 s has fewer independent parts than noise: its estimate spreads more.
    assert error.mean() < (0.03 if kind == "diffuse" else 0.06)


def test_noise_is_shaped_like_the_speech_of_its_scene(
    draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    """The tests' speech lies between 200 and 3000 Hz."""
    scene = draw(config("diffuse"))
    noise = background_noise(scene, corpus, compute_rirs(scene.room, circle, RATE))
    frequency, density = welch(noise, RATE, nperseg=256)
    density = density.mean(axis=0)
    inside = density[(frequency > 400) & (frequency < 2500)].mean()
    assert 10 * np.log10(density[frequency > 3700].mean() / inside) < -12
    assert 10 * np.log10(density[frequency < 70].mean() / inside) < -12


def test_a_point_source_comes_from_its_place(
    draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    """In an anechoic room the microphones' delays are those of its distances."""
    scene = draw(config("point").model_copy(update={"rirs": "anechoic"}))
    (place,) = scene.room.noise_sources
    noise = background_noise(scene, corpus, compute_rirs(scene.room, circle, RATE))
    mics = scene.room.microphones(circle)
    distance = np.linalg.norm(mics - place, axis=-1)
    spectra = np.fft.rfft(noise)
    frequency = np.fft.rfftfreq(noise.shape[-1], 1 / RATE)
    band = (frequency > 500) & (frequency < 1500)
    for mic in range(1, 4):
        turn = np.angle(
            np.vdot(
                np.exp(-2j * np.pi * frequency[band] * (distance[mic] - distance[0]) / 343.0),
                (spectra[mic] * spectra[0].conj())[band],
            )
        )
        assert abs(turn) < 0.05
    loudness = np.sqrt(np.mean(noise**2, axis=-1))
    np.testing.assert_allclose(loudness * distance, (loudness * distance)[0], rtol=0.03)


def test_several_places(draw: Draw, corpus: Any, circle: MicrophoneArray) -> None:
    scene = draw(config("point", sources=(3, 3)))
    assert len(scene.room.noise_sources) == 3
    rirs = compute_rirs(scene.room, circle, RATE)
    assert rirs.noise.shape[:2] == (3, 4)
    assert rirs.image.shape[:2] == (2, 4)
    assert background_noise(scene, corpus, rirs).shape == (4, 2 * RATE)


def test_a_babble_is_made_of_others_where_there_are_others(draw: Draw, corpus: Any) -> None:
    for index in range(20):
        scene = draw(config("babble"), index=index)
        assert scene.background is not None
        inside = {corpus.by_id(c.utterance).speaker for c in scene.speech}
        heard = {corpus.by_id(c.utterance).speaker for c in scene.background.talkers}
        assert 4 <= len(scene.background.talkers) <= 8
        assert not inside & heard
    everyone = SceneConfig.model_validate(
        {"num_speakers": (4, 4), "background": {"kinds": ["babble"]}}
    )
    few = type(corpus)({id: a for id, a in corpus.audio.items() if id[:2] in ("s0", "s1")})
    two = everyone.model_copy(update={"num_speakers": (2, 2)})
    assert draw(two, corpus=few).background is not None  # nobody else: these again


def test_kinds_are_mixed_and_none_is_a_kind(draw: Draw) -> None:
    every = config("diffuse").model_copy(
        update={
            "background": config("diffuse").background.model_copy(
                update={"kinds": ("none", "diffuse", "babble", "point")}
            )
        }
    )
    backgrounds = [draw(every, index=i).background for i in range(40)]
    assert {b.kind if b else "none" for b in backgrounds} == set(every.background.kinds)


@pytest.mark.parametrize("kind", ["diffuse", "point"])
def test_recordings_are_heard(
    kind: str, draw: Draw, corpus: Any, circle: MicrophoneArray, recordings: Path
) -> None:
    scene = draw(config(kind, recordings=str(recordings)))
    assert scene.background is not None
    assert len(scene.background.recordings) == (4 if kind == "diffuse" else 1)
    rirs = compute_rirs(scene.room, circle, RATE)
    first: Example = render(scene, corpus, rirs)
    np.testing.assert_array_equal(first.mixture, render(scene, corpus, rirs).mixture)
    assert np.isfinite(first.mixture).all()


def test_a_recording_keeps_its_pitch_and_place(tmp_path: Path) -> None:
    """A click 3 s into a file of another rate is 3 s in."""
    sound = np.zeros(5 * 44100)
    sound[3 * 44100] = 1.0
    soundfile.write(tmp_path / "click.wav", sound, 44100)
    found = open_recordings(str(tmp_path), RATE)
    stretch = found.read("click.wav", 2 * RATE, 2 * RATE)
    assert abs(int(np.abs(stretch).argmax()) - RATE) <= 1


def test_bad_recordings_are_named(tmp_path: Path, draw: Draw, recordings: Path) -> None:
    def drawing(folder: Path) -> Scene:
        return draw(config("diffuse", recordings=str(folder)))

    with pytest.raises(InputError, match=r"scene\.background\.recordings=.*does not exist"):
        drawing(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"scene\.background\.recordings=.*holds no audio"):
        drawing(tmp_path / "empty")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.wav").write_text("not audio")
    with pytest.raises(InputError, match=r"a\.wav: cannot be read as audio"):
        drawing(tmp_path / "text")
    (tmp_path / "short").mkdir()
    soundfile.write(tmp_path / "short" / "b.wav", np.ones(RATE) * 0.1, RATE)
    with pytest.raises(InputError, match=r"no recording is as long as a scene of 2 s.*b\.wav"):
        drawing(tmp_path / "short")


def test_short_recordings_beside_long_ones_are_left_out_and_counted(
    draw: Draw, recordings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(recordings / "short.wav", np.ones(100) * 0.1, RATE)
    for index in range(10):
        scene = draw(config("diffuse", recordings=str(recordings)), index=index)
        assert scene.background is not None
        assert "short.wav" not in {r.file for r in scene.background.recordings}
    assert caplog.text.count("1 of 4 recordings are shorter") == 1


def test_a_stretch_that_is_not_finite_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(3 * RATE, np.nan), RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"a\.wav: holds NaN or infinite"):
        open_recordings(str(tmp_path), RATE).read("a.wav", 0, RATE)


def test_silent_stretches_are_drawn_again(tmp_path: Path, draw: Draw) -> None:
    """Noise in the last third of a file; a folder of silence alone is refused."""
    sound = np.zeros(30 * RATE)
    sound[20 * RATE :] = 0.1 * np.random.default_rng(0).standard_normal(10 * RATE)
    soundfile.write(tmp_path / "a.wav", sound, RATE)
    for index in range(5):
        scene = draw(config("point", recordings=str(tmp_path)), index=index)
        assert scene.background is not None
        assert scene.background.recordings[0].offset > 18 * RATE
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    soundfile.write(quiet / "b.wav", np.zeros(3 * RATE), RATE)
    with pytest.raises(InputError, match=r"stretches of 2 s were silent, the last of b\.wav"):
        draw(config("point", recordings=str(quiet)))


@pytest.mark.parametrize("seconds", [4.1, 60.0])
def test_streams_of_one_recording_are_uncorrelated(
    seconds: float, tmp_path: Path, draw: Draw, corpus: Any
) -> None:
    """Whether it is long enough for stretches that share nothing, or hardly longer than a scene."""
    noise = 0.1 * np.random.default_rng(2).standard_normal(int(seconds * RATE))
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    wide = MicrophoneArray("wide", ((0, 0, 0), (0.1, 0, 0), (0, 0.25, 0)))
    frequency = np.fft.rfftfreq(256, 1 / RATE)
    expected = diffuse_coherence(wide.as_array(), frequency)
    errors = []
    for index in range(4):
        scene = draw(
            config("diffuse", recordings=str(tmp_path)),
            array=wide,
            num_samples=4 * RATE,
            index=index,
        )
        assert scene.background is not None
        turned = [r.shift for r in scene.background.recordings]
        assert (len(set(turned)) == 3) == (seconds < 10)
        heard = background_noise(scene, corpus, compute_rirs(scene.room, wide, RATE))
        errors.append(np.abs(coherence(heard) - expected)[8:])
    assert np.mean(errors) < 0.06


def test_other_recordings_than_were_drawn_are_refused(
    draw: Draw, corpus: Any, circle: MicrophoneArray, recordings: Path
) -> None:
    scene = draw(config("diffuse", recordings=str(recordings)))
    soundfile.write(recordings / "more.wav", np.ones(5 * RATE) * 0.1, RATE)
    _open_folder.cache_clear()
    with pytest.raises(InputError, match=r"was drawn with other noise than"):
        render(scene, corpus, compute_rirs(scene.room, circle, RATE))


def test_a_file_that_shrank_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones(3 * RATE), RATE)
    found = open_recordings(str(tmp_path), RATE)
    soundfile.write(tmp_path / "a.wav", np.ones(RATE), RATE)
    with pytest.raises(InputError, match=r"a\.wav: ends at 1\.00 s, a scene needs it up to 2\.50"):
        found.read("a.wav", RATE // 2, 2 * RATE)


# --- noise that is made -------------------------------------------------------------------


def octave_levels(signal: NDArray[np.float32]) -> NDArray[np.float64]:
    """Density of the octaves around 40 Hz to 2.5 kHz, dB."""
    frequency, density = welch(signal, RATE, nperseg=2048)
    edges = 28.0 * 2.0 ** np.arange(8)
    inside = [(frequency >= low) & (frequency < 2 * low) for low in edges[:-1]]
    return np.array([10 * np.log10(density[one].mean()) for one in inside])


def streams_of(scene: Scene, corpus: Any) -> NDArray[np.float32]:
    return background_noise(scene, corpus, compute_rirs(scene.room, scene.microphone_array(), RATE))


def test_spectra_are_drawn_around_that_of_pink_noise(draw: Draw, corpus: Any) -> None:
    chosen = config("diffuse", shape_db=(6, 6))
    scenes = [draw(chosen, index=index, num_samples=4 * RATE) for index in range(60)]
    levels = np.array([octave_levels(streams_of(scene, corpus)[0]) for scene in scenes])
    shapes = levels - levels.mean(axis=1, keepdims=True)
    slope = np.polyfit(np.arange(7), shapes.mean(axis=0), 1)[0]
    assert slope == pytest.approx(-3, abs=1)
    # straight lines between levels of 6 dB, in octaves that lie across them, are somewhat less
    assert 3 < shapes.std(axis=0).mean() < 6.5
    plain = draw(config("diffuse"), num_samples=4 * RATE)
    assert plain.model_copy(update={"background": scenes[0].background}) == scenes[0]


@pytest.mark.parametrize("kind", ["diffuse", "point"])
def test_levels_are_drawn_that_change_slowly(kind: str, draw: Draw, corpus: Any) -> None:
    found = []
    for deviation in (0.0, 8.0):
        chosen = config(kind, modulation_db=(deviation, deviation))
        noise = streams_of(draw(chosen, num_samples=60 * RATE), corpus)
        powers = np.square(noise).reshape(len(noise), -1, RATE // 2).mean(axis=-1)
        levels = 10 * np.log10(powers)
        np.testing.assert_allclose(levels, np.broadcast_to(levels[0], levels.shape), atol=4)
        found.append(levels.std(axis=1).mean())
    assert found[0] < 1.5
    assert 4 < found[1] < 9


def test_what_recordings_have_is_not_drawn(circle: MicrophoneArray, recordings: Path) -> None:
    for background, message in (
        ({"kinds": ["babble"], "shape_db": (3, 3)}, "is for scene.background.kinds diffuse and"),
        ({"kinds": ["diffuse"], "modulation_db": (-1, 3)}, "expected 0 to 25 dB"),
        (
            {"kinds": ["diffuse"], "shape_db": (3, 3), "recordings": str(recordings)},
            "is for noise that is made, not for recordings",
        ),
    ):
        with pytest.raises(InputError, match=message):
            check_scene_config(SceneConfig.model_validate({"background": background}), circle)
