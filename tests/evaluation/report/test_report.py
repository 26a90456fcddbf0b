# SPDX-License-Identifier: Apache-2.0
"""The page holds all that it shows, the same bytes each time, and nothing in it can break out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msdet.evaluation.report import Directions, ReportContent, write_report
from msdet.evaluation.report.page import render_report
from msdet.metrics.signals.error_parts import PARTS
from tests.evaluation.report import synthetic
from tests.evaluation.report.synthetic import BOTH, DIRECTIONS, SOUND, content, view

VOID = {"meta", "link", "img", "input", "br", "hr"}
HOSTILE = '</script><b onclick="alert(1)">&amp;\u2028\'$x_1$\x07'


class Page(HTMLParser):
    """Elements of a page, and where its tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else, line {self.getpos()[0]}")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text() -> str:
    return render_report(content())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "new folder" / "report.html"
    write_report(path, content())
    assert path.read_bytes() == text.encode()
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_tags_match_and_ids_are_unique(page: Page) -> None:
    assert page.faults == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert sorted(ids) == sorted(set(ids))
    for attributes in page.all("use"):
        assert attributes["href"].removeprefix("#") in ids
    for _, attributes in page.elements:
        for name in re.findall(r"url\(#([^)]*)\)", " ".join(attributes.values())):
            assert name in ids


def test_nothing_points_out_of_the_page(page: Page, text: str) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            if name in attributes:
                assert re.match(r"data:|#", attributes[name]), (tag, attributes[name][:80])
    assert "@import" not in text
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w{2,}", _without_data(text)) == []


def test_the_policy_allows_the_pages_own_script_and_embedded_data_alone(text: str) -> None:
    policy = next(
        attributes["content"]
        for attributes in Page(text).all("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == rules["media-src"] == "data:"
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"


def test_hostile_names_stay_text() -> None:
    rows = [row.model_copy(update={"id": HOSTILE}) for row in synthetic.rows(3)]
    hostile_rows = [
        row.model_copy(
            update={
                "systems": {HOSTILE: row.systems[BOTH]},
                "labels": row.labels.model_copy(update={"scene": {HOSTILE: HOSTILE}}),
            }
        )
        for row in rows
    ]
    summary: dict[str, Any] = {
        "systems": {
            HOSTILE: {
                "si_sdr_improvement_db": 1.0,
                "intervals": {},
                "failures": {HOSTILE: {"estimate": 1, "reasons": {HOSTILE: 1}}},
                "unavailable": {HOSTILE: HOSTILE},
                "breakdowns": {
                    HOSTILE: [
                        {"group": HOSTILE + g, "num_scenes": 1, "si_sdr_improvement_db": 1.0}
                        for g in "ab"
                    ]
                },
            }
        },
        "comparisons": [
            synthetic.summary(3)["comparisons"][0] | {"system": HOSTILE, "reference": HOSTILE}
        ],
    }
    scene = view(
        HOSTILE,
        HOSTILE,
        estimates={HOSTILE: view().targets},
        directions={HOSTILE: Directions(np.array([1.0, 2.0]))},
    )
    text = render_report(
        ReportContent(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, summary, hostile_rows, [scene])
    )
    page = Page(text)
    assert page.faults == []
    assert page.all("b") == []
    assert len(page.all("script")) == 2
    assert not any(name.startswith("on") for _, found in page.elements for name in found)
    assert _data(text)["scenes"][0][0] == HOSTILE


def test_the_table_of_scenes_has_every_scene_and_system(text: str) -> None:
    data = _data(text)
    assert data["systems"] == [BOTH, DIRECTIONS, SOUND]
    assert [column["name"] for column in data["columns"]] == [
        "Angle between speakers (°)",
        "T60 (s)",
        "Background",
        "Distance (m)",
    ]
    assert data["scenes"][1] == ["test-1", [24.0, None, "none", [1.1, 2.0]]]
    both, directions, sound = data["scores"]
    assert both[2] == [8.0, 0.0, 4.0, 1, 1]
    assert directions[2] == [None, None, 14.0, None, 0]
    assert sound[0] == [14.0, 0.0, None, None, 0]


def test_what_does_not_apply_is_a_dash_and_what_failed_is_counted(page: Page, text: str) -> None:
    line = re.search(rf'<th scope="row" data-value="{DIRECTIONS}">.*?</tr>', text, flags=re.S)
    assert line is not None
    assert line[0].count('data-value="">\N{EN DASH}</td>') == 2  # gain, order
    assert "1 \N{MULTIPLICATION SIGN} SDR: the signal is all zeros" in page.texts
    assert any("not measured: No module named 'pesq'" in found for found in page.texts)


def test_the_headline_is_of_the_outputs_that_hold_the_voices(text: str) -> None:
    values = re.findall(r'<span class="value">(.*?)</span>', text)
    assert values == ["7.2", "4.5"]  # as README tables have them, not best matched


def test_differences_are_the_main_system_minus_the_others(text: str) -> None:
    """Of one that finds directions alone, best matched, which is all that it has."""
    assert f"{BOTH} minus the others" in text
    table = text[text.index('<table id="comparisons"') :]
    line = re.search(rf'data-value="{DIRECTIONS}">.*?</tr>', table, flags=re.S)
    assert line is not None
    shown = ("\N{MINUS SIGN}11.0", "\N{MINUS SIGN}13.0 to \N{MINUS SIGN}9.0", "100 % won")
    assert all(number in line[0] for number in shown)


def test_what_a_system_behind_a_plus_leaves_as_it_was_is_not_said_again() -> None:
    before = synthetic.summary(3)["systems"][BOTH]
    names = ["one", "one+mvdr", "one+srp_phat"]
    rows = [
        row.model_copy(update={"systems": dict.fromkeys(names, row.systems[BOTH])})
        for row in synthetic.rows(3)
    ]
    summary = {"systems": dict.fromkeys(names, before), "comparisons": []}
    text = render_report(content(3, summary=summary, rows=rows, scenes=[]))
    assert text.count(">7.2<small>") == 2  # the gain of the voices
    assert text.count(">4.5</td>") == 2  # the error of the directions


@pytest.mark.parametrize("missed", [0.0, 0.25])
def test_missed_speakers_are_said_where_there_are_any(missed: float) -> None:
    found = synthetic.summary(3)
    for summary in found["systems"].values():
        summary["missed_rate"] = missed
    text = render_report(content(3, summary=found))
    assert ("Speakers missed" in text) == (missed > 0)


def test_files_that_clip_are_named() -> None:
    clipped = {"theirs": {"scene-1/speaker2.wav": 7}}
    page = Page(render_report(content(3, summary=synthetic.summary(3) | {"clipped": clipped})))
    assert any(found.startswith("theirs: 1 file has samples at full scale") for found in page.texts)
    assert "scene-1/speaker2.wav: 7 samples" in page.texts


def test_errors_are_drawn_by_their_parts_where_these_are_known() -> None:
    known = synthetic.summary(12)
    shares = dict(zip(PARTS, (0.6, 0.1, 0.05, 0.0, 0.25), strict=True))
    known["systems"][SOUND] |= {f"error_{part}_share": share for part, share in shares.items()}
    text = render_report(content(summary=known))
    words = f"Parts of the error: {SOUND} colour 60 %, own room 10 %, others 5 %, noise 0 %"
    assert words in text
    assert f"{BOTH} colour" not in text
    assert "Parts of the error" not in render_report(content())


def test_few_scenes_come_with_a_warning(text: str) -> None:
    few = "too narrow to trust"
    assert few not in text  # of twelve
    assert render_report(content(9, scenes=[view()])).count(few) == 1
    assert few not in render_report(content(1, scenes=[]))


def test_every_picture_and_player_has_a_name(page: Page) -> None:
    assert all(attributes["alt"] for attributes in page.all("img"))
    assert all(attributes["aria-label"] for attributes in page.all("audio"))
    for attributes in page.all("svg"):
        assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
    players = 2 * (1 + 2 * 3)  # scenes x (mixture, speakers x (target and two systems with sound))
    assert len(page.all("audio")) == len(page.all("img")) == players


def test_sounds_can_be_decoded_and_keep_their_relations(page: Page) -> None:
    import io

    import soundfile

    loudest = []
    for attributes in page.all("audio")[:7]:
        kind, _, encoded = attributes["src"].partition(";base64,")
        assert kind in ("data:audio/mpeg", "data:audio/wav")
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)))
        assert rate == synthetic.RATE
        assert len(samples) / rate == pytest.approx(1.5, abs=0.1)
        loudest.append(np.abs(samples).max())
    assert max(loudest) == pytest.approx(0.9, abs=0.1)
    assert loudest[0] > 1.2 * loudest[1]  # the mixture of both speakers over one of them


def test_a_rate_that_mp3_does_not_know_still_sounds() -> None:
    from msdet.evaluation.report.media import audio_uri

    assert audio_uri(synthetic.sound(0.2, 100.0, 10000), 10000).startswith("data:audio/wav")


def _lines(axes: Any, label: str) -> list[Any]:
    """Ends of the lines of a drawing that have a label, on the page from its middle."""
    middle = axes.transData.transform((0.0, 0.0))
    found = [line.get_xydata() for line in axes.get_lines() if line.get_label() == label]
    return [axes.transData.transform(line) - middle for line in found]


def test_drawings_put_directions_where_they_are() -> None:
    from matplotlib.figure import Figure

    from msdet.evaluation.report.drawings import draw_directions, draw_room

    scene = view(
        azimuth=np.array([90.0]),
        speakers=np.array([[2.5, 3.0, 1.5]]),
        array_rotation=90.0,
        directions={BOTH: Directions(np.array([0.0]))},
    )
    around, above = Figure(), Figure()
    draw_directions(around, scene, None, [(0, BOTH)])
    (speaker,), (claim,) = (
        _lines(around.axes[0], label) for label in ("speaker 1", f"claim {BOTH}")
    )
    assert speaker[0][0] == pytest.approx(0.0, abs=1e-6)
    assert speaker[0][1] > 0  # 90 degrees is up
    assert claim[1][0] > 0  # 0 degrees is to the right
    assert claim[1][1] == pytest.approx(0.0, abs=1e-6)
    # In a room the array's x axis is turned to the room's y axis, so the claim goes up the page.
    draw_room(above, scene, None, [(0, BOTH)])
    ((start, end),) = _lines(above.axes[0], f"claim {BOTH}")
    assert end[0] == pytest.approx(start[0])
    assert end[1] > start[1]


def test_a_line_claims_both_sides_of_itself() -> None:
    from matplotlib.figure import Figure

    from msdet.evaluation.report.drawings import directions_svg, draw_room

    scene = view(linear_array=True, directions={BOTH: Directions(np.array([60.0, 120.0]))})
    above = Figure()
    draw_room(above, scene, None, [(0, BOTH)])
    assert len(_lines(above.axes[0], f"claim {BOTH}")) == 4
    polar = directions_svg(scene, None, [(0, BOTH)], "scene")
    assert ">180°<" in polar
    assert ">210°<" not in polar


@pytest.mark.parametrize(
    "bare",
    [
        content(scenes=[view("unknown", estimates={}, directions={})]),
        content(1),
    ],
    ids=["an unscored scene", "one scene"],
)
def test_whatever_is_missing_is_left_out(bare: ReportContent) -> None:
    assert Page(render_report(bare)).faults == []


def test_silence_and_missing_outputs_are_shown() -> None:
    silent = np.zeros_like(view().mixture)
    missing = np.full_like(view().targets, np.nan)
    scene = view(mixture=silent, targets=np.stack([silent] * 2), estimates={BOTH: missing})
    page = Page(render_report(content(scenes=[scene])))
    assert page.faults == []
    assert page.texts.count("No output for this speaker") == 2


@pytest.mark.slow
def test_a_large_evaluation_can_be_mailed() -> None:
    names = [f"system {i}" for i in range(10)]
    rows = [
        row.model_copy(update={"systems": dict.fromkeys(names, row.systems[BOTH])})
        for row in synthetic.rows(200)
    ]
    summary = {"systems": dict.fromkeys(names, synthetic.summary(200)), "comparisons": []}
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 4 * synthetic.RATE)).astype(np.float32)  # the worst to pack
    scenes = [
        view(
            f"test-{i}", targets=noise, mixture=noise[0], estimates=dict.fromkeys(names[:4], noise)
        )
        for i in range(6)
    ]
    size = len(render_report(content(200, rows=rows, summary=summary, scenes=scenes)).encode())
    assert size < 15e6


@pytest.mark.parametrize(
    ("groups", "names", "unit"),
    [
        (["0 to 15 deg apart", "15 to 30 deg apart"], ["0–15", "15–30"], "degrees"),  # noqa: RUF001
        (["under 0 dB SNR", "30 dB SNR or more"], ["< 0", "≥ 30"], "dB"),
        (["-5 to 0 dB DRR"], ["\N{MINUS SIGN}5 to 0"], "dB"),
        (["background: music", "background: none"], ["music", "none"], ""),
        (["seam within 15 deg", "seam further away"],) * 2 + ("",),
    ],
)
def test_groups_are_named_shortly(groups: list[str], names: list[str], unit: str) -> None:
    from msdet.evaluation.report.wording import group_names

    assert group_names(groups) == (names, unit)


def _data(text: str) -> Any:
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, flags=re.S)
    return json.loads(data)


def _without_data(text: str) -> str:
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
