# SPDX-License-Identifier: Apache-2.0
"""What tests do with a browser, whatever the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PHONE, DESK, WIDE = (390, 844), (1280, 900), (1400, 900)

SECONDS = 300.0
"""That a page may take on a busy machine; nothing waits for as long where things go well."""

Seen = TypeVar("Seen")


def wait_until(browser: Chrome, look: Callable[[], Seen], good: Callable[[Seen], Any]) -> Seen:
    """What is seen as soon as it is good; the assertion that fails shows what was seen last."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    seen: list[Seen] = []

    def looked(_: object) -> bool:
        seen[:] = [look()]
        return bool(good(seen[0]))

    try:
        WebDriverWait(browser, SECONDS, poll_frequency=0.05).until(looked)
    except TimeoutException:
        raise AssertionError(f"still {seen[0]!r} after {SECONDS:g} s") from None
    return seen[0]


def becomes(browser: Chrome, look: Callable[[], Seen], wanted: Seen) -> None:
    """Wait until something is as it should be."""
    wait_until(browser, look, lambda seen: seen == wanted)


def wait_for(browser: Chrome, selector: str, count: int = 1) -> None:
    """Wait until so many of these are drawn, or more."""
    drawn = """return [...document.querySelectorAll(arguments[0])]
      .filter((e) => e.checkVisibility()).length"""
    wait_until(browser, lambda: browser.execute_script(drawn, selector), lambda n: n >= count)


def play_all(browser: Chrome, count: int) -> list[dict[str, Any]]:
    """Start each of so many players in turn; what it and the others do once it has moved.

    They start again at their end: a busy machine looks later than a short one plays.
    """
    there = "return document.querySelectorAll('audio').length"
    wait_until(browser, lambda: browser.execute_script(there), lambda n: n >= count)
    found: list[dict[str, Any]] = browser.execute_async_script(
        """const done = arguments[0];
        const players = [...document.querySelectorAll('audio')];
        const moved = async (player) => {
          player.loop = true;
          await player.play();
          while (player.currentTime === 0) await new Promise((next) => setTimeout(next, 10));
          return {ready: player.readyState, time: player.currentTime, duration: player.duration,
                  playing: players.filter((p) => !p.paused).length};
        };
        (async () => {
          const states = [];
          for (const player of players) states.push(await moved(player));
          for (const player of players) player.pause();
          done(states);
        })().catch((error) => done([{error: String(error)}]));"""
    )
    assert "error" not in found[0], found
    return found


def resize(browser: Chrome, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def use_scheme(browser: Chrome, scheme: str) -> None:
    """The system's colours: light, dark, or as they are where it is empty."""
    features = [{"name": "prefers-color-scheme", "value": scheme}] if scheme else []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def requested(browser: Chrome) -> list[str]:
    """Addresses that were asked for since this was last called; not those within the page."""
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in sent
        if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith(("data:", "blob:"))]


def too_wide(browser: Chrome, but: str) -> list[str]:
    """What reaches over the right edge, with the page itself; ``but``: selector of what may."""
    found: list[str] = browser.execute_script(
        """const wide = document.documentElement.scrollWidth > innerWidth ? ['the page'] : [];
        return wide.concat([...document.querySelectorAll('body *')].filter((e) =>
          !e.closest(arguments[0]) && e.getBoundingClientRect().right > innerWidth + 1)
          .map((e) => e.outerHTML.slice(0, 80)))""",
        but,
    )
    return found
