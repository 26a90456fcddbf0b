# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser: it opens without a network, sounds, sorts, filters, and fits a
phone.

Needs selenium, chromium and its driver (Debian: ``apt-get install chromium chromium-driver``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from msdet.evaluation.report import write_report
from msdet.metrics.signals.error_parts import PARTS
from tests.evaluation.report.synthetic import BOTH, DIRECTIONS, SOUND, content
from tests.integration.browsing import (
    DESK,
    PHONE,
    becomes,
    play_all,
    requested,
    resize,
    too_wide,
    use_scheme,
    wait_for,
)

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.integration

SCENES = 12
PLAYERS = 14


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, content(SCENES))
    return path.as_uri()


@pytest.fixture
def page(browser: Chrome, address: str) -> Chrome:
    """The report, freshly opened on a desk."""
    resize(browser, *DESK)
    browser.get(address)
    wait_for(browser, "#all-scenes tbody tr", SCENES)
    return browser


def test_it_opens_without_complaints_and_without_requests(page: Chrome, address: str) -> None:
    play_all(page, PLAYERS)
    assert page.get_log("browser") == []
    requests = requested(page)
    assert address in requests
    assert [url for url in requests if url != address] == []


def test_players_play_one_at_a_time(page: Chrome) -> None:
    reached = play_all(page, PLAYERS)
    assert len(reached) == PLAYERS
    assert all(state["ready"] >= 2 and state["time"] > 0 for state in reached), reached
    assert all(state["playing"] == 1 for state in reached), reached
    assert all(1.4 < state["duration"] < 1.7 for state in reached), reached


def test_pictures_are_there(page: Chrome) -> None:
    widths = page.execute_async_script(
        """const done = arguments[0];
        const images = [...document.images];
        Promise.all(images.map((i) => i.decode().catch(() => null)))
          .then(() => done(images.map((i) => i.naturalWidth)));"""
    )
    assert len(widths) == PLAYERS
    assert min(widths) == max(widths) == 240


def test_scenes_sort_by_any_column_with_missing_ones_last(page: Chrome) -> None:
    assert _column(page, "Scene") == [f"test-{i}" for i in range(SCENES)]
    _sort(page, "#all-scenes", "SI-SDR improvement (dB)")
    assert _sorting(page, "#all-scenes", "SI-SDR improvement (dB)") == "descending"
    assert _column(page, "Scene")[0] == "test-0"
    _sort(page, "#all-scenes", "SI-SDR improvement (dB)")
    assert _sorting(page, "#all-scenes", "SI-SDR improvement (dB)") == "ascending"
    assert _column(page, "Scene") == [f"test-{i}" for i in reversed(range(SCENES))]

    _sort(page, "#all-scenes", "T60 (s)")  # test-1 has none
    assert _sorting(page, "#all-scenes", "SI-SDR improvement (dB)") is None
    assert _column(page, "Scene")[-1] == "test-1"
    _sort(page, "#all-scenes", "T60 (s)")
    assert _column(page, "Scene")[:2] == ["test-0", "test-2"]
    assert _column(page, "Scene")[-1] == "test-1"

    _sort(page, "#all-scenes", "Scene")
    assert _column(page, "Scene") == [f"test-{i}" for i in range(SCENES)]  # 2 before 10


def test_systems_sort_by_the_keyboard(page: Chrome) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    names = "return [...document.querySelectorAll('#summary tbody th')].map((e) => e.textContent)"
    assert page.execute_script(names) == [BOTH, DIRECTIONS, SOUND]
    button = next(
        b
        for b in page.find_elements(By.CSS_SELECTOR, "#summary button.sort")
        if b.text.startswith("SI-SDR improvement")
    )
    button.send_keys(Keys.ENTER)
    assert page.execute_script(names) == [SOUND, BOTH, DIRECTIONS]
    button.send_keys(Keys.ENTER)
    assert page.execute_script(names) == [BOTH, SOUND, DIRECTIONS]


@pytest.mark.parametrize("width", [1400, 390])
def test_the_table_of_systems_fits_and_no_name_is_broken(
    browser: Chrome, tmp_path: Path, width: int
) -> None:
    """With the names and measures that an evaluation has: all at a desk but what stands last (early
    SI-SDR, the parts of the error); of a phone's width enough to read numbers beside the names."""
    keys = (
        *(
            "si_sdr_improvement_db",
            "si_sdr_early_improvement_db",
            "sdr_db",
            "sir_improvement_db",
            "sar_db",
            "estoi",
            "pesq_wb",
        ),
        *("azimuth_error_median_deg", "azimuth_within_10deg", "wrong_slot_rate"),
        *("order_accuracy", "missed_rate", "real_time_factor"),
        *(f"error_{part}_db" for part in PARTS),
    )
    summary = {**dict.fromkeys(keys, 0.25), "intervals": {key: [-0.125, 0.15625] for key in keys}}
    summary |= {"failures": {}, "unavailable": {}, "breakdowns": {}}
    names = [f"planar-pairs{after}" for after in ("", "+mvdr", "+srp_phat")]
    names += ["unprocessed", "delay_and_sum", "oracle_mvdr"]
    path = tmp_path / "report.html"
    found = {
        "systems": dict.fromkeys(names, summary),
        "num_scenes": SCENES,
        "comparisons": [],
    }
    write_report(path, content(SCENES, summary=found, rows=[], scenes=[]))
    resize(browser, width, 900)
    browser.get(path.as_uri())
    last, shown, names_wide = browser.execute_script(
        """const table = document.querySelector('#summary'), shown = table.parentElement;
        const last = [...table.querySelectorAll('thead th')]
          .filter((head) => /^(target to|si-sdr\\s+early)/i.test(head.innerText));
        return [last.map((head) => head.offsetLeft), shown.clientWidth,
                table.querySelector('tbody th').offsetWidth];"""
    )
    assert len(last) == 1 + len(PARTS)
    if width == 1400:
        assert min(last) <= shown
    else:
        assert names_wide < shown / 2
    lines = browser.execute_script(
        """return [...document.querySelectorAll('#summary .part')]
        .map((part) => [part.getClientRects().length, part.scrollWidth - part.clientWidth])"""
    )
    assert set(map(tuple, lines)) == {(1, 0)}


def test_filters_narrow_the_table_and_can_be_cleared(page: Chrome) -> None:
    _fill(page, "#text", "music")
    becomes(page, lambda: _column(page, "Scene"), ["test-0", "test-3", "test-6", "test-9"])
    _open_ranges(page)
    _fill(page, "[aria-label='Angle between speakers (°), at least']", "30")
    becomes(page, lambda: _column(page, "Scene"), ["test-3", "test-6", "test-9"])
    _fill(page, "[aria-label='Angle between speakers (°), at most']", "44")
    becomes(page, lambda: _column(page, "Scene"), ["test-3", "test-6"])
    assert _status(page) == f"2 of {SCENES} scenes"
    page.execute_script("document.querySelector('#filters [type=reset]').click()")
    becomes(page, lambda: _status(page), f"{SCENES} of {SCENES} scenes")


def test_a_range_leaves_out_what_has_no_value(page: Chrome) -> None:
    _open_ranges(page)
    _fill(page, "[aria-label='T60 (s), at least']", "0")
    others = [f"test-{i}" for i in range(SCENES) if i != 1]
    becomes(page, lambda: _column(page, "Scene"), others)


def test_the_table_shows_the_chosen_system(page: Chrome) -> None:
    assert _column(page, "SI-SDR improvement (dB)")[1] == "8.5"
    _choose(page, "#system", SOUND)
    assert _column(page, "SI-SDR improvement (dB)")[1] == "13.8"
    assert set(_column(page, "Azimuth error (°)")) == {"\N{EN DASH}"}
    _choose(page, "#system", DIRECTIONS)
    assert _column(page, "Azimuth error (°)")[1] == "13.0"


def test_a_scene_shows_the_directions_of_the_chosen_system(page: Chrome) -> None:
    shown = """return [...new Set([...document.querySelector('.scene')
        .querySelectorAll('[data-system]')]
        .filter((g) => getComputedStyle(g).display !== 'none').map((g) => g.dataset.system))]"""
    assert page.execute_script(shown) == ["0"]
    _choose(page, ".directions-of", DIRECTIONS)
    assert page.execute_script(shown) == ["1"]


def test_the_legend_hides_and_shows_a_system(page: Chrome) -> None:
    visible = """return [...document.querySelectorAll('.overlaid .series-0')]
        .filter((g) => getComputedStyle(g).display !== 'none').length"""
    press = "document.querySelector('.legend [data-series=\"0\"]').click()"
    before = page.execute_script(visible)
    assert before > 0
    page.execute_script(press)
    assert page.execute_script(visible) == 0
    page.execute_script(press)
    assert page.execute_script(visible) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_reads_in_either_scheme(page: Chrome, scheme: str) -> None:
    """At least 4.5 to 1 between text and what it stands on, as WCAG AA asks."""
    use_scheme(page, scheme)
    try:
        for text in ("body", ".note", ".chart text", "#summary td small", "nav a"):
            assert _contrast(page, text) >= 4.5, text
    finally:
        use_scheme(page, "")


def test_the_button_overrules_the_systems_scheme(page: Chrome) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    press = "document.querySelector('#theme').click()"
    page.execute_script(press)
    light = page.execute_script(background)
    page.execute_script(press)
    assert page.execute_script(background) != light
    assert page.execute_script("return document.querySelector('#theme').textContent").endswith(
        "dark"
    )


def test_it_fits_a_phone(page: Chrome) -> None:
    resize(page, *PHONE)
    assert page.execute_script("return window.innerWidth") == PHONE[0]
    assert too_wide(page, but=".scroll, svg, .skip") == []


# --- what a reader does ---------------------------------------------------------------------


def _header(browser: Chrome, table: str, name: str) -> Any:
    header = browser.execute_script(
        """return [...document.querySelectorAll(`${arguments[0]} thead th`)]
          .find((th) => th.textContent === arguments[1])""",
        table,
        name,
    )
    assert header is not None, name
    return header


def _sort(browser: Chrome, table: str, name: str) -> None:
    header = _header(browser, table, name)
    browser.execute_script("arguments[0].querySelector('button').click()", header)


def _sorting(browser: Chrome, table: str, name: str) -> Any:
    return _header(browser, table, name).get_attribute("aria-sort")


def _column(browser: Chrome, name: str) -> list[str]:
    found: list[str] = browser.execute_script(
        """const at = arguments[0].cellIndex;
        return [...document.querySelectorAll('#all-scenes tbody tr')]
          .map((row) => row.cells[at].textContent)""",
        _header(browser, "#all-scenes", name),
    )
    return found


def _fill(browser: Chrome, selector: str, text: str) -> None:
    from selenium.webdriver.common.by import By

    browser.find_element(By.CSS_SELECTOR, selector).send_keys(text)


def _open_ranges(browser: Chrome) -> None:
    from selenium.webdriver.common.by import By

    browser.find_element(By.CSS_SELECTOR, "#ranges summary").click()


def _choose(browser: Chrome, selector: str, text: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    Select(browser.find_element(By.CSS_SELECTOR, selector)).select_by_visible_text(text)


def _status(browser: Chrome) -> Any:
    return browser.execute_script("return document.querySelector('#count').textContent")


def _contrast(browser: Chrome, selector: str) -> float:
    """Contrast of a text with the first background behind it that is not transparent."""
    ratio: float = browser.execute_script(
        """const element = document.querySelector(arguments[0]);
        const style = getComputedStyle(element);
        const colour = element.tagName === 'text' ? style.fill : style.color;
        let behind = element;
        const clear = (e) => getComputedStyle(e).backgroundColor === 'rgba(0, 0, 0, 0)';
        while (behind.parentElement && clear(behind)) behind = behind.parentElement;
        const luminance = (text) => {
          const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const [low, high] = [colour, getComputedStyle(behind).backgroundColor]
          .map(luminance).sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);""",
        selector,
    )
    return ratio
