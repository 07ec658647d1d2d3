"""The page of a report in a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.stored import Run
from fakes.stores import MemoryStore
from fakes.told import Told
from holdfast.core.errors import Exit
from holdfast.core.runs import RunId
from holdfast.inspect.report.document import document
from holdfast.inspect.report.page import page
from holdfast.inspect.report.read import read
from holdfast.store import StoreSettings, open_store
from integration.daemons import machines
from real.browser import browser as real_browser

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("browser")]

_LEAST_TEXT = 9  # pixels
_SMALLEST_TEXT = """Math.min(...[...document.querySelectorAll("main *")].filter(e => e.childNodes.length &&
    [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) && e.closest("svg") === null
).map(e => parseFloat(getComputedStyle(e).fontSize)))"""
_OUTSIDE = """[...document.querySelectorAll("main *")].filter(e => !e.closest(".scroll, pre, svg") &&
    e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "." + e.className)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with real_browser() as found:
        yield found


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(Run(MemoryStore(), tmp_path / "spool"), tmp_path)


def written(told: Told, folder: Path) -> Path:
    path = folder / "page.html"
    path.write_text(page(document(read(told.run.store, told.run.id), time.time())))
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_shows_lanes_and_curves_at_every_width_without_a_complaint(
    browser: Any, told: Told, tmp_path: Path, width: int, dark: bool
) -> None:
    told.metrics = {"a metric with a name as long as one may be, without a place to break it" + "_x" * 40: 1.0}
    told.interrupted(150)
    told.killed(170)
    told.interrupted(130)
    told.completed()
    tab = browser.open(written(told, tmp_path), width, dark)
    assert tab.complaints == []
    assert tab.ask("document.querySelectorAll('.lane').length") == 4
    assert tab.ask("[...document.querySelectorAll('.strip')].every(e => e.getBoundingClientRect().width > 200)")
    assert tab.ask("document.querySelectorAll('polyline').length") >= 6
    assert tab.ask("document.documentElement.scrollWidth") <= width
    assert tab.ask(_OUTSIDE) == []
    assert tab.ask(_SMALLEST_TEXT) >= _LEAST_TEXT


def test_the_page_of_real_daemons_opens_without_a_complaint(browser: Any, tmp_path: Path) -> None:
    with machines(str(tmp_path / "store"), tmp_path / "machines", {}) as park:
        daemon = park.start("one", STEPS="40", PACE="0.02", HOLD_AT="25")
        park.until_step("one", 25, daemon)
        assert daemon.terminate() == Exit.STOPPED
        assert park.start("two", STEPS="40", PACE="0.02").wait() == Exit.COMPLETE
        store = open_store(park.store, StoreSettings())
    path = tmp_path / "page.html"
    path.write_text(page(document(read(store, RunId(1, "count")), time.time())))
    tab = browser.open(path, 400)
    assert tab.complaints == []
    assert tab.ask("document.querySelector('.verdict').innerText").startswith("complete: 2 starts on 2 machines")
    assert tab.ask("document.querySelectorAll('.lane').length") == 2
    assert tab.ask(_OUTSIDE) == []
    assert tab.ask(_SMALLEST_TEXT) >= _LEAST_TEXT


def test_what_is_hostile_in_a_run_stays_text(browser: Any, told: Told, tmp_path: Path) -> None:
    told.metrics = {"<img src=x onerror=\"document.title='x'\">": 1.0}
    told.crashed(130)  # its last line has a script that changes the title
    tab = browser.open(written(told, tmp_path), 1400)
    assert tab.complaints == []
    assert tab.ask("document.title") == "00001-digits: failed"
    assert tab.ask("document.querySelectorAll('script, img').length") == 0
    assert "</script><script>" in tab.ask("document.body.innerText")


def test_a_page_of_a_thousand_starts_opens_within_two_seconds(browser: Any, tmp_path: Path) -> None:
    told = Told(Run(MemoryStore(), tmp_path / "spool"), tmp_path, epochs=1000)
    for _ in range(999):
        told.killed(120)
    told.completed()
    path = written(told, tmp_path)
    browser.open(path, 1400)  # the first page of a browser waits for its processes
    began = time.monotonic()
    tab = browser.open(path, 1400)
    assert tab.ask("document.querySelectorAll('.lane').length") == 1000
    assert time.monotonic() - began < 2
