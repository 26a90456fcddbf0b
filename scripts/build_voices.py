#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the bundled voices (data/voices) from recordings of real people in Debian packages, or,
with --full DIR, the large version from every usable speaker. Same packages, same output."""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import soundfile
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from voices import measure
from voices.measure import Signal
from voices.preparation import (
    GAP,
    HIGH_PASS_HZ,
    MARGIN,
    SAMPLE_RATE,
    clean,
    join,
    level,
    tighten,
)

from msdet.corpora.utterance import (
    MANIFEST,
    SPLITS,
    BundledUtterance,
    Measured,
    Split,
    write_manifest,
)
from msdet.errors import InputError

VOICES = Path(__file__).resolve().parent.parent / "data" / "voices"
SOURCES = VOICES / "sources.toml"
BUILDING = ".building-"
COMMON_LICENCES = Path("/usr/share/common-licenses")

BUNDLED_SECONDS = (40.0, 80.0)  # a speaker with less is left out; what is beyond is not taken
FULL_SECONDS = (20.0, 60.0)  # per speaker at least; per file at most
MAX_BUNDLED_BYTES = 8_000_000
MAX_CLIPPED_SHARE = 3e-3  # of a clip as it was recorded
FULL_BAND_HZ = 7000  # anti-aliasing filters take the last kilohertz of many 16 kHz recordings
OPUS_BITS = {True: "24k", False: "16k"}  # full-band, telephone band
CLEAR_PITCH_HZ = (160.0, 190.0)  # below: a man; above: a woman; between: not told by pitch


README = f"""\
# Voices

Recordings of real people, taken from Debian packages by `scripts/build_voices.py` as
`sources.toml` says; the script writes this file too. Each row of `manifest.jsonl` says
who speaks, from which package the recording comes and under which licence.

**Changed** from the originals: single clips were chosen, resampled to 16 kHz mono,
high-passed at {HIGH_PASS_HZ:.0f} Hz, trimmed, their pauses shortened, brought to a
common level, joined and encoded as Ogg Opus.

**Licences.** Each recording keeps the licence of its package, apart from the licence of
msdet's code. `LICENSES/` holds the copyright file of each package and the texts that
these refer to. The originals (the GPL's "source") are the packages named here.

| speaker | split | sex | language | package | licence | by |
| --- | --- | --- | --- | --- | --- | --- |
"""


class Source(BaseModel):
    """One speaker's files in one package: a table of sources.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speaker: str
    package: str
    files: str
    exclude: str | None = Field(default=None, alias="except")
    language: str
    sex: Literal["F", "M"] | None = None
    split: Split
    licence: str
    credit: str
    pitch: tuple[float, float] | None = None
    clip: float = Field(gt=0)
    bundled: bool = True


class Package(NamedTuple):
    """An unpacked Debian package."""

    name: str
    version: str
    root: Path


# --- Packages ------------------------------------------------------------------------------------


def run(*command: str, cwd: Path | None = None, stdin: bytes | None = None) -> bytes:
    """Run a program and return what it printed; its own words on failure."""
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise InputError(f"{' '.join(command[:4])}: failed: {words[-1]}")
    return done.stdout


def unpack(name: str, downloads: Path, folder: Path) -> Package:
    """Download a package unless its file is in ``downloads`` already, and unpack it."""
    if not any(downloads.glob(f"{name}_*.deb")):
        run("apt-get", "download", "-qq", name, cwd=downloads)
    found = list(downloads.glob(f"{name}_*.deb"))
    if len(found) != 1:
        raise InputError(f"{downloads}: {len(found)} files of the package {name}, expected one")
    root = folder / name
    root.mkdir()
    run("dpkg", "-x", str(found[0]), str(root))
    version = run("dpkg-deb", "-f", str(found[0]), "Version").decode().strip()
    return Package(name, version, root)


def licence_texts(package: Package, folder: Path) -> None:
    """Copy the package's copyright file and the licences that it refers to by name."""
    source = package.root / "usr/share/doc" / package.name / "copyright"
    text = source.read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{package.name}.txt").write_bytes(text)
    for name in set(re.findall(rb"common-licenses/(GPL-[23]|GPL|LGPL-[\d.]+\d)", text)):
        # A bare "GPL" is a link to the newest version; the packages here say "version 2".
        licence = "GPL-2" if name == b"GPL" else name.decode()
        if not (COMMON_LICENCES / licence).is_file():
            raise InputError(f"{COMMON_LICENCES / licence}: missing; install base-files")
        (folder / f"{licence}.txt").write_bytes((COMMON_LICENCES / licence).read_bytes())


# --- Clips ---------------------------------------------------------------------------------------


def decode(path: Path) -> tuple[Signal, int]:
    """Samples of one clip, mono, and their rate."""
    if path.suffix == ".g722":
        raw = run("ffmpeg", "-v", "error", "-f", "g722", "-i", str(path), "-f", "s16le", "-")
        samples, rate = np.frombuffer(raw, "<i2").astype(np.float32) / 32768.0, 16000
    elif path.suffix == ".gsm":
        samples, rate = soundfile.read(
            path, dtype="float32", format="RAW", subtype="GSM610", channels=1, samplerate=8000
        )
    else:
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
        samples = channels[:, np.argmax(np.sum(channels**2, axis=0))]  # one side may be empty
    return np.asarray(samples, np.float32), rate


def clips(source: Source, package: Package) -> Iterator[Signal]:
    """Usable clips of a source, in an order that mixes the folders and never changes."""
    inside = {
        path.relative_to(package.root).as_posix(): path
        for path in package.root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    wanted = [name for name in inside if re.search(source.files, name)]
    if source.exclude:
        wanted = [name for name in wanted if not re.search(source.exclude, name)]
    if not wanted:
        raise InputError(f"{package.name} {package.version}: no file matches {source.files!r}")
    seen: set[str] = set()
    for name in sorted(wanted, key=lambda name: hashlib.sha256(name.encode()).digest()):
        content = hashlib.sha256(inside[name].read_bytes()).hexdigest()
        if content in seen:  # the same recording under two names
            continue
        seen.add(content)
        try:
            samples, rate = decode(inside[name])
        except (soundfile.LibsndfileError, InputError) as error:
            print(f"  skipped {name}: {error}", file=sys.stderr)
            continue
        if measure.clipped_share(samples) > MAX_CLIPPED_SHARE:
            continue
        samples = tighten(clean(samples, rate))
        if len(samples) < (source.clip + 2 * MARGIN) * SAMPLE_RATE:
            continue
        if source.pitch is not None:
            pitch = measure.pitch(samples, SAMPLE_RATE)
            if pitch is None or not source.pitch[0] <= pitch <= source.pitch[1]:
                continue
        yield level(samples)


def recordings(source: Source, package: Package, full: bool) -> Iterator[Signal]:
    """Continuous recordings of one speaker: one for the bundle, all that there is with ``full``."""
    at_least, at_most = FULL_SECONDS if full else BUNDLED_SECONDS
    pieces: list[Signal] = []
    for clip in clips(source, package):
        seconds = sum(len(p) / SAMPLE_RATE + GAP for p in pieces)
        if seconds + len(clip) / SAMPLE_RATE > at_most and seconds >= at_least:
            yield level(join(pieces, gap=GAP))
            pieces = []
            if not full:
                return
        pieces.append(clip[: round(at_most * SAMPLE_RATE)])
    if sum(len(p) / SAMPLE_RATE + GAP for p in pieces) >= at_least:
        yield level(join(pieces, gap=GAP))


# --- Files ---------------------------------------------------------------------------------------


def encode(samples: Signal, path: Path, full_band: bool) -> None:
    """Write Ogg Opus, 16 kHz mono, without anything random or dated in the container."""
    command = ["ffmpeg", "-v", "error", "-y", "-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1"]
    command += ["-i", "-", "-map_metadata", "-1", "-c:a", "libopus", "-application", "voip"]
    command += ["-b:a", OPUS_BITS[full_band], "-compression_level", "10"]
    command += ["-fflags", "+bitexact", "-flags:a", "+bitexact", "-f", "ogg", str(path)]
    path.parent.mkdir(parents=True, exist_ok=True)
    run(*command, stdin=samples.astype("<f4").tobytes())


def measured(samples: Signal) -> Measured:
    pitch = measure.pitch(samples, SAMPLE_RATE)
    return Measured(
        active_level_db=round(measure.active_level(samples, SAMPLE_RATE), 2),
        silence_share=round(measure.silence_share(samples, SAMPLE_RATE), 4),
        clipped_share=round(measure.clipped_share(samples), 6),
        peak=round(float(np.max(np.abs(samples))), 4),
        dc=round(float(np.mean(samples)), 6),
        bandwidth_hz=measure.bandwidth(samples, SAMPLE_RATE),
        pitch_hz=None if pitch is None else round(pitch, 1),
    )


def store(
    samples: Signal, source: Source, package: Package, number: str, root: Path
) -> BundledUtterance:
    """Encode a recording, read it back and write its row from what was stored."""
    name = f"{source.speaker}{number}"
    path = root / source.split / f"{name}.opus"
    encode(samples, path, measure.bandwidth(samples, SAMPLE_RATE) >= FULL_BAND_HZ)
    stored, rate = soundfile.read(path, dtype="float32")
    content = path.read_bytes()
    checked = measured(stored)
    low, high = CLEAR_PITCH_HZ
    heard = checked.pitch_hz
    by_pitch = None if heard is None or low < heard < high else "M" if heard <= low else "F"
    # 8000 for full-band, 4000 for the telephone band, what was measured in between
    full_band = checked.bandwidth_hz >= FULL_BAND_HZ
    return BundledUtterance(
        id=name,
        speaker=source.speaker,
        split=source.split,
        path=path.relative_to(root).as_posix(),
        duration=len(stored) / rate,
        sample_rate=rate,
        bandwidth_hz=8000 if full_band else max(checked.bandwidth_hz, 4000),
        sex=source.sex or by_pitch,
        language=source.language,
        num_bytes=len(content),
        source_package=package.name,
        source_version=package.version,
        licence=source.licence,
        credit=source.credit,
        sex_source="package" if source.sex else "pitch",
        sha256=hashlib.sha256(content).hexdigest(),
        checked=checked,
    )


# --- The whole -----------------------------------------------------------------------------------


def read_sources(path: Path) -> tuple[Source, ...]:
    """The table of sources; one person must not be in two splits."""
    try:
        sources = [Source.model_validate(row) for row in tomllib.loads(path.read_text())["source"]]
    except (OSError, tomllib.TOMLDecodeError, KeyError, ValidationError) as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}") from None
    split_of: dict[str, str] = {}
    for source in sources:
        if split_of.setdefault(source.speaker, source.split) != source.split:
            raise InputError(f"{path}: {source.speaker} is in two splits")
    return tuple(sources)


def build(
    sources: Sequence[Source], downloads: Path, root: Path, full: bool
) -> list[BundledUtterance]:
    """Build every source's recordings under ``root`` and return the rows."""
    rows: list[BundledUtterance] = []
    with tempfile.TemporaryDirectory() as temporary:
        packages: dict[str, Package] = {}
        for index, source in enumerate(sources, start=1):
            if source.package not in packages:
                print(f"unpacking {source.package}", file=sys.stderr, flush=True)
                packages[source.package] = unpack(source.package, downloads, Path(temporary))
            package = packages[source.package]
            done = sum(row.speaker == source.speaker for row in rows)
            new = [
                store(samples, source, package, f"-{number:03d}" if full else "", root)
                for number, samples in enumerate(recordings(source, package, full), start=done + 1)
            ]
            seconds = sum(row.duration for row in new)
            print(
                f"[{index}/{len(sources)}] {source.speaker}: {len(new)} files, {seconds:.0f} s"
                + ("" if new else " (too little usable speech: left out)"),
                file=sys.stderr,
                flush=True,
            )
            rows += new
            if new:
                licence_texts(package, root / "LICENSES")
    return rows


def readme(rows: Sequence[BundledUtterance]) -> str:
    """Say what lies in the folder, whose it is and what was changed, as the licences ask."""
    speakers = {row.speaker: row for row in rows}.values()
    return README + "".join(
        f"| {row.speaker} | {row.split} | {row.sex or '?'} | {row.language}"
        f" | {row.source_package} {row.source_version} | {row.licence} | {row.credit} |\n"
        for row in speakers
    )


def check(rows: Sequence[BundledUtterance], full: bool) -> None:
    """Refuse a set that lacks women or men in a band of a split, or is too large."""
    for split in SPLITS:
        for band in (4000, 8000):
            sexes = {r.sex for r in rows if r.split == split and r.bandwidth_hz >= band}
            if not {"F", "M"} <= sexes:
                raise InputError(f"{split}: no woman or no man with {band} Hz bandwidth")
    num_bytes = sum(row.num_bytes for row in rows)
    if not full and num_bytes > MAX_BUNDLED_BYTES:
        raise InputError(f"the voices take {num_bytes} bytes, more than {MAX_BUNDLED_BYTES}")


def main() -> None:
    """Build the voices in a folder of their own; put them in the place of the old ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", metavar="DIR", type=Path, help="build the large version in DIR")
    parser.add_argument(
        "--packages", metavar="DIR", type=Path, help="keep or find the downloaded .deb files here"
    )
    options = parser.parse_args()
    full = options.full is not None
    target: Path = options.full if full else VOICES
    if full and target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file; name a new folder")
    for stale in target.glob(f"{BUILDING}*"):  # of a run that was killed
        shutil.rmtree(stale)
    if full and target.exists() and any(target.iterdir()):
        raise InputError(f"{target}: exists and is not empty; name a new folder")
    sources = [s for s in read_sources(SOURCES) if full or s.bundled]
    for program in ("apt-get", "dpkg", "ffmpeg"):
        if shutil.which(program) is None:
            raise InputError(f"{program}: not found; Debian's apt, dpkg and ffmpeg are needed")
    target.mkdir(parents=True, exist_ok=True)
    # Built beside the target and moved, so that a failed run leaves the old voices as they were.
    with tempfile.TemporaryDirectory(dir=target, prefix=BUILDING) as temporary:
        new = Path(temporary) / "new"
        downloads = options.packages or Path(temporary) / "packages"
        downloads.mkdir(parents=True, exist_ok=True)
        rows = build(sources, downloads.resolve(), new, full)
        rows.sort(key=lambda row: (SPLITS.index(row.split), row.id))
        print(f"{len(rows)} files of {len({row.speaker for row in rows})} speakers")
        check(rows, full)
        write_manifest(new / MANIFEST, rows)
        (new / "README.md").write_text(readme(rows), encoding="utf-8")
        for item in sorted(new.iterdir()):
            old = target / item.name
            if old.is_dir():
                shutil.rmtree(old)
            item.replace(old)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
