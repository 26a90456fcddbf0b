# SPDX-License-Identifier: Apache-2.0
"""The settings of a criterion, and the assignments by their names."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from msdet.parsing import Config
from msdet.parts import NameOrOwn
from msdet.tasks import Label

AssignmentName = Literal[
    "azimuth", "distance", "cyclic", "nearest_gap", "pit", "doa_pit", "joint_pit"
]
BY_LOCATION: tuple[AssignmentName, ...] = ("azimuth", "distance", "cyclic", "nearest_gap")

Assignment = NameOrOwn[AssignmentName]
"""One of ours by its name, or a class that makes an :class:`AssignmentRule`."""

NEEDS: dict[AssignmentName, frozenset[Label]] = {
    "azimuth": frozenset({"azimuth"}),
    "distance": frozenset({"distance"}),
    "cyclic": frozenset({"azimuth"}),
    "nearest_gap": frozenset({"azimuth", "distance"}),
    "pit": frozenset({"targets"}),
    "doa_pit": frozenset({"azimuth"}),
    "joint_pit": frozenset(),
}
"""Labels that every example must have; a joint search makes do with either kind."""

Balancing = Literal["fixed", "anneal", "uncertainty", "dwa", "upgrad"]


class CriterionConfig(Config):
    """Assignment, losses, weights, labels and penalties.

    Attributes:
        assignment: which speaker a slot must output.
        nearest_gap: degrees, of the assignment of this name: scenes in which any two speakers are
            closer are sorted by distance, the others by azimuth.
        separation_loss: between separated speakers and their targets: `l1`, the L1 in the
            frequency domain (`msdet.criteria.losses.spectral_l1`); `snr`, the negative SNR in
            decibels (`msdet.criteria.losses.NegativeSnr`), which wants `weight=0.5`; or a class,
            a `msdet.criteria.losses.SeparationLoss`.
        direction_loss: between a direction head's output and the speakers' azimuths:
            `cross_entropy`, or a class, a `msdet.criteria.losses.DirectionLoss`.
        weight: w in w · separation + (1 - w) · direction. 1 trains separation alone, 0 direction
            alone.
        distance_weight: of the distance head's loss, beside these two.
        balancing: what becomes of these weights in training: nothing (`fixed`); all but that of
            separation fall to zero (`anneal`); training finds them (`uncertainty`, `dwa`); or the
            tasks' gradients on the shared encoder are combined (`upgrad`).
        label_width: degrees: azimuth labels are Gaussian around the truth with this standard
            deviation; 0 puts all into the nearest class.
        sharing_strength: of the penalty on the distance between the tasks' encoders, with
            `model.sharing=soft`; with 0 it is `none`.
        sparsity: of an L1 penalty on the network's weights, such as 1e-6.
    """

    assignment: Assignment = "azimuth"
    nearest_gap: float = Field(default=20.0, gt=0, le=180)
    separation_loss: NameOrOwn[Literal["l1", "snr"]] = "l1"
    direction_loss: NameOrOwn[Literal["cross_entropy"]] = "cross_entropy"
    weight: float = Field(default=0.97, ge=0, le=1)
    distance_weight: float = Field(default=0.0, ge=0, le=1e9)
    balancing: Balancing = "fixed"
    label_width: float = Field(default=0.0, ge=0, le=90)
    sharing_strength: float = Field(default=0.0, ge=0, le=1e9)
    sparsity: float = Field(default=0.0, ge=0, le=1e9)

    @model_validator(mode="after")
    def _permutations_need_their_loss(self) -> CriterionConfig:
        if self.assignment == "pit" and self.weight == 0:
            raise ValueError(
                "assignment 'pit' searches the permutation of least separation loss, which "
                "weight=0 leaves untrained: choose an assignment by location, or weight above 0"
            )
        if self.assignment == "doa_pit" and self.weight == 1:
            raise ValueError(
                "assignment 'doa_pit' searches the permutation of least direction loss, which "
                "weight=1 leaves untrained: choose an assignment by location, or weight below 1"
            )
        return self
