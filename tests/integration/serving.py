# SPDX-License-Identifier: Apache-2.0
"""What somebody does with a running page: by hand in a browser, or by requests."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.browsing import SECONDS, wait_for, wait_until

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

MEGABYTE = 1_000_000
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def ask(port: int, path: str, body: bytes | None = None, **headers: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    return urllib.request.urlopen(request, timeout=SECONDS)


def answer(port: int, path: str, body: bytes | None, headers: dict[str, str]) -> int:
    """The status alone, also of a refusal."""
    try:
        return int(ask(port, path, body, **headers).status)
    except urllib.error.HTTPError as error:
        return error.code


def a_file(content: bytes, disposition: str = 'form-data; name="files"; filename="a.wav"') -> bytes:
    head = f"--x\r\nContent-Disposition: {disposition}\r\n\r\n"
    return head.encode() + content + b"\r\n--x--\r\n"


def stored(temporary: Path) -> dict[Path, int]:
    """Files of the page, and their sizes."""
    return {p: p.stat().st_size for p in temporary.glob("msdet-serve-*/**/*") if p.is_file()}


def job_of(port: int, button: str | int | None) -> str | int | None:
    """The number of a button's job, where there is such a button."""
    config = json.load(ask(port, "/config"))
    names = {c["id"]: c["props"].get("elem_id") for c in config["components"]}
    for job in config["dependencies"] if isinstance(button, str) else ():
        if [names.get(target[0]) for target in job["targets"]] == [button]:
            return int(job["id"])
    return button


def join(port: int, button: str | int | None, data: Any) -> int:
    """The status of a job's way into the queue."""
    body = {"data": data, "fn_index": job_of(port, button), "session_hash": "odd"}
    return answer(port, "/gradio_api/queue/join", json.dumps(body).encode(), JSON)


def run_job(port: int, button: str, data: list[Any]) -> str:
    """All that the page is told of a job."""
    body = {"data": data, "fn_index": job_of(port, button), "session_hash": "good"}
    ask(port, "/gradio_api/queue/join", json.dumps(body).encode(), **JSON)
    return str(ask(port, "/gradio_api/queue/data?session_hash=good").read().decode())


def click(browser: Chrome, selector: str) -> None:
    """Click what there is of it."""
    browser.execute_script("document.querySelector(arguments[0])?.click()", selector)


def boxes(browser: Chrome) -> list[Any]:
    """The input that takes a file: none while one is there."""
    from selenium.webdriver.common.by import By

    return browser.find_elements(By.CSS_SELECTOR, "#msdet-file input[type=file]")


def upload(browser: Chrome, file: Path) -> None:
    """Choose a file, in place of the one that was chosen before."""
    click(browser, "#msdet-file [aria-label='Clear']")
    wait_until(browser, lambda: boxes(browser), len)[0].send_keys(str(file))
    wait_until(browser, lambda: texts(browser, "#msdet-file")[0], lambda said: file.stem in said)


def separate(browser: Chrome, file: Path) -> None:
    upload(browser, file)
    choose(browser, "#msdet-array", "as in training")
    click(browser, "#msdet-separate")
    wait_for(browser, ".msdet-outcome")


def choose(browser: Chrome, dropdown: str, choice: str) -> None:
    """Take the choice that begins so, as somebody who types it."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    box = browser.find_element(By.CSS_SELECTOR, f"{dropdown} input")
    box.clear()
    box.send_keys(choice)
    wait_for(browser, "[role=option]")
    box.send_keys(Keys.ENTER)
    value = "return document.querySelector(arguments[0] + ' input').value"
    wait_until(
        browser,
        lambda: str(browser.execute_script(value, dropdown)),
        lambda said: said.startswith(choice) and said != choice,
    )


def open_tab(browser: Chrome, name: str) -> None:
    browser.execute_script(
        """[...document.querySelectorAll('[role=tab]')]
          .find((tab) => tab.textContent.trim() === arguments[0]).click()""",
        name,
    )


def message(browser: Chrome, unlike: str | None = None) -> str:
    found = wait_until(
        browser,
        lambda: texts(browser, ".msdet-error"),
        lambda seen: seen and not (unlike and unlike in seen[0]),
    )
    return found[0]


def texts(browser: Chrome, selector: str) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())",
        selector,
    )
    return found


def links(browser: Chrome) -> set[str]:
    return set(
        browser.execute_script(
            "return [...document.querySelectorAll('.msdet-outcome a[download]')]"
            ".map((a) => a.download)"
        )
    )


def compass(browser: Chrome) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('.arrow')].map((a) => a.getAttribute('transform'))"
    )
    return found


def name_of(browser: Chrome, thing: str) -> str:
    return str(
        browser.execute_script(
            "return document.querySelector('#msdet-room ' + arguments[0]).ariaLabel", thing
        )
    )


def place_of(name: str) -> tuple[float, float]:
    """From "Speaker 1 at 4.3, 3.1 m, ..."."""
    x, y, *_ = name.partition(" at ")[2].replace(" m", "").split(", ")
    return float(x), float(y)


def complaints(browser: Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
