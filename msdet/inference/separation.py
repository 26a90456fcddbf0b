# SPDX-License-Identifier: Apache-2.0
"""The result of a separation as plain arrays: the speakers and their audio."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msdet.inference.speakers import Speakers
from msdet.inference.speakers_file import SPEAKERS_NAME, Origin, speakers_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Separation(Speakers):
    """The speakers and their audio, which :meth:`msdet.Separator.separate` returns.

    Attributes:
        audio: float32 ``[speaker, sample]`` at the reference microphone, at ``sample_rate`` and
            at the recording's own level. A model trained on varying numbers of speakers gives
            as many as it finds, be it none.
        origin: what made it, as ``speakers.json`` says it.
    """

    audio: NDArray[np.float32] = field(repr=False)
    sample_rate: int
    origin: Origin = field(repr=False)

    def save(self, folder: str | Path, exact: bool = False) -> None:
        """Write what ``msdet separate`` writes: a WAV a speaker, ``speakers.json``, a picture.

        Args:
            folder: new or empty, or holding what was saved there of the same recording.
            exact: 32-bit floats at the recording's own level, instead of 24 bits at a level that
                can be played.
        Raises:
            InputError: the folder holds something else, or cannot be written.
        """
        from msdet.inference.outputs import PICTURE_NAME, TrackFiles, output_folder, subtype_of

        assert self.origin.recording_id is not None
        with output_folder(Path(folder), self.origin.recording_id) as scratch:
            rate, size = self.sample_rate, self.audio.shape[1]
            tracks = TrackFiles(scratch, rate, rate, size)
            for number, voice in enumerate(self.audio):
                tracks.write(number, voice)
            paths, gain = tracks.finish(list(range(len(self.audio))), subtype_of("FLOAT", exact))
            self.plot().savefig(scratch / PICTURE_NAME)
            said = speakers_file(self, self.origin, files=[p.name for p in paths], gain=gain)
            (scratch / SPEAKERS_NAME).write_text(said.text(), encoding="utf-8")

    def plot(self) -> Figure:
        """Draw azimuths over time on a polar plot, beside each speaker's spectrogram with the times
        of speech. The figure's ``savefig`` writes it."""
        from msdet.inference.pictures import draw, spectrogram

        rate = self.sample_rate
        heard = [spectrogram(voice.__getitem__, len(voice), rate) for voice in self.audio]
        return draw(self, heard, rate)
