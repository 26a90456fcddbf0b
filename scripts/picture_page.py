#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Takes the picture of docs/page.md: a room, rendered and separated by a page that is running.

Start ``msdet serve`` with a trained model first. Needs selenium, chromium and its driver.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "page.png"
WIDTH = 1280
SECONDS = 600.0
_COLOURS = 128
"""Of the file: enough that no step is seen, at a third of the size."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="http://127.0.0.1:7860/")
    parser.add_argument("--output", type=Path, default=PICTURE)
    options = parser.parse_args()
    chrome = webdriver.ChromeOptions()
    chrome.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"):
        chrome.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        chrome.add_argument("--no-sandbox")  # chromium refuses root otherwise, as in containers
    browser = webdriver.Chrome(
        options=chrome, service=webdriver.ChromeService(shutil.which("chromedriver"))
    )
    try:
        content = take(browser, options.address)
    finally:
        browser.quit()
    image = Image.open(io.BytesIO(content)).convert("RGB").quantize(_COLOURS)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    image.save(options.output, optimize=True)
    print(f"{options.output}: {options.output.stat().st_size // 1000} kB")
    return 0


def take(browser: webdriver.Chrome, address: str) -> bytes:
    """A PNG of the whole page, with a result."""
    resize(browser, 900)
    browser.get(address)
    wait(browser, "#msdet-separate")
    browser.execute_script(
        "[...document.querySelectorAll('[role=tab]')].at(-1).click()"  # the room
    )
    wait(browser, "#msdet-room .thing")
    browser.execute_script("document.querySelector('#msdet-render').click()")
    wait(browser, ".msdet-outcome")
    resize(browser, browser.execute_script("return document.documentElement.scrollHeight"))
    browser.execute_async_script("setTimeout(arguments[0], 1000)")  # players draw their times
    return browser.get_screenshot_as_png()


def resize(browser: webdriver.Chrome, height: int) -> None:
    metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def wait(browser: webdriver.Chrome, selector: str) -> None:
    WebDriverWait(browser, SECONDS).until(
        lambda b: any(e.is_displayed() for e in b.find_elements(By.CSS_SELECTOR, selector))
    )


if __name__ == "__main__":
    sys.exit(main())
