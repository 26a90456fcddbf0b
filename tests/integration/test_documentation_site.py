# SPDX-License-Identifier: Apache-2.0
"""The documentation becomes a site that works as files, and its page on training runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
import soundfile

from msdet.cli import main
from msdet.corpora import BundledConfig, open_corpus
from tests.integration.browsing import DESK, PHONE, SECONDS, requested, resize, too_wide

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built without a warning."""
    for module in ("material", "mkdocs_jupyter", "mkdocstrings"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_the_site_holds_what_its_links_say_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    names = {str(page.relative_to(site)) for page in pages}
    assert {"index.html", "notebooks/recording.html", "contributing.html"} <= names
    loaded, dead = [], []
    for page, text in pages.items():
        loaded += re.findall(r'<(?:script|img|link)[^>]* (?:src|href)="?(https?:[^" >]*)', text)
        dead += [
            f"{page.relative_to(site)}: {address}"
            for address in re.findall(r'<a [^>]*href="([^"#:]+)["#]', text)
            if page.name != "404.html" and not (page.parent / unquote(address)).exists()
        ]
    assert loaded == []
    assert dead == []


def test_search_finds_in_pages_that_are_opened_as_files(browser: Chrome, site: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, SECONDS)
    resize(browser, *DESK)
    browser.get((site / "index.html").as_uri())
    browser.find_element(By.CSS_SELECTOR, ".md-search__input").click()
    browser.switch_to.active_element.send_keys("ReSpeaker")
    found = wait.until(
        lambda page: page.find_elements(By.CSS_SELECTOR, ".md-search-result__item a")
    )
    assert any("conventions.html" in link.get_attribute("href") for link in found)
    assert [url for url in requested(browser) if not url.startswith("file:")] == []


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize(
    "page", ["index", "configs", "results/study", "api/models", "notebooks/scoring"]
)
def test_pages_fit_and_wide_tables_and_code_scroll(
    browser: Chrome, site: Path, page: str, size: tuple[int, int]
) -> None:
    resize(browser, *size)
    browser.get((site / f"{page}.html").as_uri())
    assert too_wide(browser, ".md-typeset__scrollwrap, pre, .md-sidebar, .md-header") == []


def test_the_reference_shows_examples_as_code(site: Path) -> None:
    pages = list((site / "api").glob("*.html"))
    assert any("&gt;&gt;&gt; " in page.read_text(encoding="utf-8") for page in pages)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "<blockquote>" not in text, f"{page.name}: an example became a quotation"


def test_the_reference_gives_each_argument_a_line() -> None:
    """What is left in the line of another, or is misspelt, is no argument's name."""
    griffe = pytest.importorskip("griffe")
    options = {"warnings": False, "returns_multiple_items": False}
    extensions = griffe.load_extensions(str(ROOT / "scripts" / "docs_site.py"))
    package = griffe.load(
        "msdet",
        search_paths=[str(ROOT)],
        extensions=extensions,
        docstring_parser="google",
        docstring_options=options,
    )
    unknown, left = [], [package]
    while left:
        one = left.pop()
        members = [member for member in one.members.values() if not member.is_alias]
        left += members
        known = {parameter.name for parameter in getattr(one, "parameters", ())}
        known |= one.all_members.keys()
        for section in one.docstring.parsed if one.docstring else ():
            if section.kind.value in ("parameters", "attributes"):
                names = [item.name for item in section.value]
                unknown += [f"{one.path}: {name}" for name in names if name not in known]
    assert unknown == []


@pytest.fixture
def speech(same_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page begins with: ``speech/`` in the working folder, and lists of it."""
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


@pytest.mark.slow
def test_the_page_on_training_runs_as_written(speech: Path) -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    own = re.compile(r"corpus\.path=speech|outputs/(first|second|harder)/")  # not those of GPUs
    commands = [line[1:] for line in lines if line[:1] == ["msdet"] and any(map(own.search, line))]
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
