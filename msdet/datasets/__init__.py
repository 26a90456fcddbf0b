# SPDX-License-Identifier: Apache-2.0
"""Data sets of examples that networks are trained and tested on, and their batches."""

from typing import TYPE_CHECKING

from msdet.lazily import lazily

if TYPE_CHECKING:
    from msdet.datasets.batch import ALL_LABELS, Batch, LabelledMixture
    from msdet.datasets.config import DataConfig
    from msdet.datasets.examples import (
        ExampleSampler,
        ExampleSet,
        FixedScenes,
        MixedExamples,
        SimulatedMixtures,
    )

_HOMES = {
    "ALL_LABELS": "batch",
    "Batch": "batch",
    "LabelledMixture": "batch",
    "DataConfig": "config",
    "ExampleSampler": "examples",
    "ExampleSet": "examples",
    "FixedScenes": "examples",
    "MixedExamples": "examples",
    "SimulatedMixtures": "examples",
}
__all__ = [
    "ALL_LABELS",
    "Batch",
    "DataConfig",
    "ExampleSampler",
    "ExampleSet",
    "FixedScenes",
    "LabelledMixture",
    "MixedExamples",
    "SimulatedMixtures",
]
__getattr__ = lazily(__name__, _HOMES)
