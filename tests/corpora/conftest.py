# SPDX-License-Identifier: Apache-2.0
"""Lets tests import what the scripts that build corpora are made of."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
