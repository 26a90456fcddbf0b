#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes ``docs/speakers.schema.json``, the JSON schema of the ``speakers.json`` of a recording."""

from __future__ import annotations

from pathlib import Path

from msdet.files import write_json
from msdet.inference.speakers_file import schema

if __name__ == "__main__":
    write_json(Path(__file__).resolve().parents[1] / "docs" / "speakers.schema.json", schema())
