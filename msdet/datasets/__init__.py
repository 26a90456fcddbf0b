# SPDX-License-Identifier: Apache-2.0
"""Data sets of examples that networks are trained and tested on, and their batches."""

from msdet.datasets.batch import ALL_LABELS, Batch, LabelledMixture
from msdet.datasets.config import DataConfig
from msdet.datasets.examples import ExampleSet, FixedScenes, MixedExamples, SimulatedMixtures
from msdet.datasets.samplers import ExampleSampler, UnpaddedSampler

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
    "UnpaddedSampler",
]
