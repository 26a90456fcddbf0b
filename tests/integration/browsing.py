# SPDX-License-Identifier: Apache-2.0
"""What tests do with a browser, whatever the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PHONE, DESK = (390, 844), (1280, 900)


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
