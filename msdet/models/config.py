# SPDX-License-Identifier: Apache-2.0
"""The settings of a network: its transform, frontend, encoder and heads."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, model_serializer, model_validator

from msdet.parsing import Config
from msdet.parts import TARGET, NameOrOwn, Own, OwnPart, part_tag

MOST_CHANNELS = 2**12
"""In any layer; a 3x3 convolution of so many has 150 M weights."""

MOST_BLOCKS = 64
"""In a level; the deepest networks of the field have about as many layers in all."""

_MOST_LEVELS = 12
"""Each halves the frequencies, and the longest window has fewer than 2**14."""

_LONGEST_DILATION = 2**12
"""Frames; longer than any crop."""

_Channels = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
_Blocks = Annotated[int, Field(ge=1, le=MOST_BLOCKS)]
_Dilation = Annotated[int, Field(ge=1, le=_LONGEST_DILATION)]


class StftConfig(Config):
    """The short-time Fourier transform.

    A third of a second at 48 kHz is the longest window: speech is not stationary for as long.

    Attributes:
        window, hop: samples; the defaults are 64 and 32 ms at 16 kHz.
    """

    window: int = Field(default=1024, ge=16, le=2**14)
    hop: int = Field(default=512, ge=1)

    @model_validator(mode="after")
    def _overlap(self) -> StftConfig:
        if self.window % 2 or self.hop * 2 > self.window:
            raise ValueError(
                f"window must be even and at least twice the hop, got window={self.window}, "
                f"hop={self.hop}"
            )
        return self


_Elevation = Annotated[float, Field(ge=-90, le=90)]


class LooksConfig(BaseModel):
    """Look directions; each costs a product of matrices.

    Attributes:
        directions: evenly around the circle (from 0 to 180 degrees for a line).
        elevations: degrees; the best fit over these is taken: [0, 30, 60] for speakers well above
            the array.
    """

    directions: int = Field(default=36, ge=8, le=720)
    elevations: tuple[_Elevation, ...] = Field(default=(0.0,), min_length=1, max_length=16)


class DirectionalConfig(LooksConfig, Config):
    """How well each bin's phases fit each look direction; serves any array of the trained kind
    (linear or not)."""

    name: Literal["directional"] = "directional"
    any_array: ClassVar = True


class RealImaginaryConfig(LooksConfig, Config):
    """Real and imaginary parts; bound to the array of training."""

    name: Literal["ri"] = "ri"
    any_array: ClassVar = False


class OwnFrontendConfig(LooksConfig, OwnPart):
    """A frontend by its class, a :class:`Frontend`.

    Attributes:
        directions, elevations: look directions, which guidance and the first direction head have
            in any case.
        any_array: whether it serves other arrays than that of training.
    """

    any_array: bool = False

    @model_serializer
    def _with_looks(self) -> dict[str, Any]:
        looks = {"directions": self.directions, "elevations": list(self.elevations)}
        return {TARGET: self.target, **looks, "any_array": self.any_array, **self.arguments}


FrontendConfig = Annotated[
    Annotated[DirectionalConfig, Tag("directional")]
    | Annotated[RealImaginaryConfig, Tag("ri")]
    | Annotated[OwnFrontendConfig, Tag("<class>")],
    Discriminator(part_tag),
]


class UNetConfig(Config):
    """Sizes of the U-Net.

    Attributes:
        full_channels: channels at full frequency resolution (what the mask is made from).
        channels: channels of the lower levels: a quarter of the frequencies, then half of that, ...
        blocks: residual blocks of each level; those of the lowest carry the time dilations.
        dilations: in time, of the lowest level's blocks, cycled.
    """

    name: Literal["unet"] = "unet"
    full_channels: int = Field(default=16, ge=4, le=MOST_CHANNELS)
    channels: tuple[_Channels, ...] = Field((48, 64), min_length=1, max_length=_MOST_LEVELS)
    blocks: tuple[_Blocks, ...] = Field((1, 4), min_length=1, max_length=_MOST_LEVELS)
    dilations: tuple[_Dilation, ...] = Field((1, 2, 4, 8), min_length=1, max_length=MOST_BLOCKS)

    @model_validator(mode="after")
    def _a_number_of_blocks_per_level(self) -> UNetConfig:
        if len(self.blocks) != len(self.channels):
            raise ValueError(
                f"blocks={list(self.blocks)} must have one number for each level of "
                f"channels={list(self.channels)}"
            )
        return self


EncoderConfig = Annotated[Annotated[UNetConfig, Tag("unet")] | Own, Discriminator(part_tag)]


class HeadsConfig(Config):
    """The heads behind the shared encoder.

    Attributes:
        separation: what the speakers are first made by: complex masks on the reference microphone
            (`mask`); complex weights of it and of eight fixed superdirective beams around the
            array (`beams`), which separate by place from the first; or a class, a
            `msdet.models.heads.SeparationHead`.
        guidance: what tells each mask where its speaker is: nothing (`none`: plain multitask
            heads), the network's own direction (`estimated`), or the true one (`oracle`, a
            ceiling).
        beamformer: what refines the masks: nothing (`none`); an MVDR beamformer with covariances
            from the masks (`mask`); one that is steered to the direction of what each mask holds
            (`steered`), which leaves echoes out; or filters of a steered and a superdirective beam
            and their past frames, without what the other slots explain of them (`convolutive`),
            which removes reverberation (see *The network*).
        refinements: how often, each time with the beamformer of the last estimates and the same
            weights.
        dereverberations: turns of a last step, 3 being enough, that averages the
            estimates with beams towards the speakers from which what filters of the estimates over
            the present and past frames explain, others' sound and reverberation, was taken away;
            0: none.
        combiner_blocks: residual blocks over frequency that read two complex weights for each slot
            and frequency from statistics over the utterance, in place of that average, which
            needs no training; 0: none. Needs `dereverberations`.
        refinement_blocks: residual blocks in the refinement, at a quarter of the frequencies.
        refinement_channels: of these blocks.
        equaliser_blocks: of `convolutive`: residual blocks over frequency of the equaliser, one
            complex gain for each slot and frequency behind each refinement; 0: none.
        equaliser_channels: of these blocks, and of the combiner's.
        resolution: degrees per azimuth class; must divide 360 (180 for a line).
        span: seconds over which the fine direction head reads where a speaker is, moment by moment,
            beside the whole utterance: for speakers who walk. null: the utterance alone.
        filter_span: seconds that the beams, filters and gains of a moment are computed from; null:
            the utterance, one set of them for all of it. Needs `span`.
        direction_channels, mask_channels: widths of the heads.
        mask_bound: largest real and imaginary part that a mask adds to an even share.
        distance: what a third head says of each speaker's distance: nothing (`none`), a number
            (`regression`), or a class (`classes`); with `criterion.distance_weight`.
    """

    separation: NameOrOwn[Literal["mask", "beams"]] = "mask"
    guidance: Literal["none", "estimated", "oracle"] = "estimated"
    beamformer: Literal["none", "mask", "steered", "convolutive"] = "mask"
    refinements: int = Field(default=1, ge=1, le=MOST_BLOCKS)
    dereverberations: int = Field(default=0, ge=0, le=16)
    combiner_blocks: int = Field(default=0, ge=0, le=12)
    refinement_blocks: int = Field(default=0, ge=0, le=12)  # the last looks 2**11 frames around
    refinement_channels: int = Field(default=32, ge=4, le=MOST_CHANNELS)
    equaliser_blocks: int = Field(default=7, ge=0, le=12)  # the last is dilated 2**11 bins
    equaliser_channels: int = Field(default=32, ge=4, le=MOST_CHANNELS)
    resolution: float = Field(default=5.0, ge=0.25, le=90)  # no array tells finer ones apart
    span: float | None = Field(default=None, gt=0, le=60)
    filter_span: float | None = Field(default=None, gt=0, le=60)
    direction_channels: int = Field(default=32, ge=4, le=MOST_CHANNELS)
    mask_channels: int = Field(default=16, ge=4, le=MOST_CHANNELS)
    mask_bound: float = Field(default=2.0, gt=0, le=1e6)
    distance: Literal["none", "regression", "classes"] = "none"

    @model_validator(mode="after")
    def _filters_follow_directions(self) -> HeadsConfig:
        if self.filter_span is not None and self.span is None:
            raise ValueError(
                f"filter_span={self.filter_span:g}: what is computed moment by moment follows "
                "directions over time: give span too, such as 0.8"
            )
        return self


MOST_SLOTS = 32
"""Speakers that a network puts out; simulated scenes have up to five."""


class ModelConfig(Config):
    """The network; the defaults are of a size for CPUs.

    Attributes:
        sharing: one encoder that all tasks train (`hard`: Caruana 1997); one that separation alone
            trains and all read (`detached`, the control that tells what direction teaches it); one
            for separation and one for the others (`none`); or likewise with a penalty on their
            distance (`soft`). But with `hard`, what one task feeds the other carries no gradient.
        causal: nothing looks at later frames, so that the network can hear a stream: means and
            filters are of the frames so far, the older ones counting less (`heads.span` and
            `filter_span`, twice their mean age, must be given).
        slots: outputs; null: as many as `scene.num_speakers` allows. Outputs to spare learn to be
            empty, and serve when training goes on (`init_from`) with more speakers.
    """

    stft: StftConfig = StftConfig()
    frontend: FrontendConfig = DirectionalConfig()
    encoder: EncoderConfig = UNetConfig()
    heads: HeadsConfig = HeadsConfig()
    sharing: Literal["hard", "detached", "soft", "none"] = "hard"
    causal: bool = False
    slots: int | None = Field(default=None, ge=2, le=MOST_SLOTS)

    @model_validator(mode="after")
    def _causal_parts(self) -> ModelConfig:
        if not self.causal:
            return self
        heads = self.heads
        missing = [key for key in ("span", "filter_span") if getattr(heads, key) is None]
        if missing:
            raise ValueError(
                f"causal=true: heads.{missing[0]} is null, the whole utterance; give seconds, such "
                "as heads.span=0.8 and heads.filter_span=2"
            )
        for key, part in (("encoder", self.encoder), ("heads.separation", heads.separation)):
            if isinstance(part, OwnPart):
                raise ValueError(f"causal=true: {key} is a class; those of msdet alone are causal")
        if heads.distance != "none":
            raise ValueError(
                f"causal=true: heads.distance={heads.distance} is read from the whole utterance; "
                "give none"
            )
        return self
