#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Takes the picture of docs/page.md: a room, rendered and separated by a page that is running.

Start ``msdet serve`` with a trained model first. Needs selenium, chromium and its driver.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "page.png"
WIDTH = 1280
COLOURS = 128
"""Colours of the file: enough that no step is seen, at a third of the size."""


def main() -> None:
    """Take the picture and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="http://127.0.0.1:7860/")
    parser.add_argument("--output", type=Path, default=PICTURE)
    options = parser.parse_args()
    chrome = webdriver.ChromeOptions()
    chrome.binary_location = shutil.which("chromium") or ""
    # chromium refuses root with a sandbox, as in containers
    for argument in ("headless=new", "disable-gpu", "disable-dev-shm-usage", "no-sandbox"):
        chrome.add_argument(f"--{argument}")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=chrome, service=service) as browser:
        content = take(browser, options.address)
    image = Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS)
    image.save(options.output, optimize=True)
    print(f"{options.output}: {options.output.stat().st_size // 1000} kB")


def take(browser: webdriver.Chrome, address: str) -> bytes:
    """Return a PNG of the whole page, with a result."""

    def resize(height: int) -> None:
        metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def wait(selector: str) -> None:
        WebDriverWait(browser, 600.0).until(
            lambda b: any(e.is_displayed() for e in b.find_elements(By.CSS_SELECTOR, selector))
        )

    resize(900)
    browser.get(address)
    wait("#msdet-separate")
    browser.execute_script("[...document.querySelectorAll('[role=tab]')].at(-1).click()")
    wait("#msdet-room .thing")
    browser.execute_script("document.querySelector('#msdet-render').click()")
    wait(".msdet-outcome")
    resize(browser.execute_script("return document.documentElement.scrollHeight"))
    browser.execute_async_script("setTimeout(arguments[0], 1000)")  # players draw their times
    return browser.get_screenshot_as_png()


if __name__ == "__main__":
    main()
