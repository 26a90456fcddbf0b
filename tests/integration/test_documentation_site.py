# SPDX-License-Identifier: Apache-2.0
"""The documentation becomes a site without a warning, and its tutorial on training runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from msdet.cli import main
from msdet.corpora import BundledConfig, open_corpus

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert {"index.html", "configs.html", "changelog.html"} <= {page.name for page in pages}
    loaded = [
        address
        for page in pages
        for address in re.findall(
            r'<(?:script|img|link)[^>]* (?:src|href)="?(https?:[^" >]*)',
            page.read_text(encoding="utf-8"),
        )
    ]
    assert loaded == [], "the site loads something from elsewhere"


@pytest.fixture
def speech(same_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the tutorial begins with: ``speech/`` in the working folder, and lists of it."""
    monkeypatch.chdir(tmp_path)
    corpus = open_corpus(BundledConfig(name="bundled"), 8000)
    for split in ("train", "valid", "test"):
        rows = ["speaker_ID,origin_path"]
        for utterance in corpus.split(split).utterances:
            path = tmp_path / "speech" / utterance.speaker / f"{len(rows)}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, corpus.read(utterance), 8000)
            rows.append(f"{utterance.speaker},{path.relative_to(tmp_path / 'speech')}")
        (tmp_path / "speech" / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_the_tutorial_runs_as_written(speech: Path) -> None:
    page = (ROOT / "docs" / "tutorial-corpus.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    commands = [line[1:] for line in lines if line[:1] == ["msdet"]]
    assert {command[0] for command in commands} == {"train", "evaluate", "simulate", "export"}
    for command in commands:
        tiny = {
            "train": ["experiment=debug", "trainer.epochs=1", "evaluate=false"],
            "evaluate": ["num_scenes=2", "metrics=[si_sdr]", "systems=[unprocessed,model]"],
            "simulate": ["num_scenes=2"],
            "export": [],
        }[command[0]]
        kept = [a for a in command if a.split("=")[0] not in {t.split("=")[0] for t in tiny}]
        assert main([*kept, *tiny]) == 0, command
    for made in ("outputs/first/model.onnx", "outputs/compared/report.html"):
        assert (speech / made).is_file()
