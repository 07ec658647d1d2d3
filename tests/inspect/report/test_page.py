from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fakes.stored import Run
from fakes.told import Report, Told
from holdfast.inspect.report.markup import Markup, joined, tag
from holdfast.inspect.report.page import page

HOSTILE = '<img src=x onerror="document.title=1">'


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_what_comes_from_a_store_is_text_whatever_it_is(told: Told, report: Report) -> None:
    told.metrics = {HOSTILE: 1.0}
    told.interrupted(150)
    told.crashed(130)  # its last line has a script
    found = Elements(page(report()))
    assert not {"script", "img", "iframe", "link", "object"} & set(found.names)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "ValueError: </script><script>document.title = 'x'</script>" in found.text
    assert HOSTILE in found.text


def test_the_page_needs_nothing_from_elsewhere(told: Told, report: Report) -> None:
    told.completed()
    text = page(report())
    assert [value for name, value in Elements(text).attributes if name in ("src", "href", "xlink:href")] == []
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src &#x27;none&#x27;" in text


def test_every_part_of_a_run_is_on_its_page(told: Told, report: Report) -> None:
    told.interrupted(150)
    told.killed(170)
    told.completed()
    text = Elements(page(report())).text
    parts = (
        "00001-digits", "complete: 3 starts", "Where the time went", "Starts", "Loss and metrics", "val_loss",
        "Interruptions", "spot notice (terminate", "What changed", "Checkpoints", "runtime goodput",
    )  # fmt: skip
    assert [part for part in parts if part not in text] == []


def test_a_training_of_more_epochs_than_anybody_lives_has_a_page(run: Run, tmp_path: Path, report: Report) -> None:
    """EarlyStopping is to end it."""
    told = Told(run, tmp_path, epochs=10**9, batches=10**4)
    told.goes_on(30)
    assert "running" in page(report())


def test_a_run_without_events_has_a_page(run: Run, report: Report) -> None:
    run.pairs(1, 2)
    assert "there are no events of this run in the store" in page(report())


@pytest.mark.whole
def test_a_run_of_a_thousand_starts_and_a_hundred_thousand_batches_has_a_page_below_2_mb(
    run: Run, tmp_path: Path, report: Report
) -> None:
    """Each start does 120 batches, and the last 20 of them are lost."""
    told = Told(run, tmp_path, epochs=1000, batches=100)
    for _ in range(999):
        told.killed(120)
    told.completed()
    began = time.process_time()
    found = report()
    text = page(found)
    assert time.process_time() - began < 20
    assert (found["starts"], found["batches"]["again"]) == (1000, told.account.again)
    assert len(text.encode()) < 2_000_000


def test_a_metric_of_one_checkpoint_is_a_dot(told: Told, report: Report) -> None:
    told.goes_on(100)
    drawn = page(report())
    assert re.search(r'<polyline class="s0 dot" points="(500\.0,[\d.]+) \1"', drawn), "in the middle"
    assert "batches: 100</span>" in drawn


def lengths_of_lines(text: str) -> list[int]:
    """How many points each line of the loss has: those over batches, then those over time."""
    figure = text.partition("</figure>")[0]
    return [len(points.split()) for points in re.findall(r'<polyline class="s0" points="([^"]+)"', figure)]


def test_each_fit_of_a_script_has_a_line_of_its_own(told: Told, report: Report) -> None:
    told.fit_batches = 500
    told.completed()
    assert lengths_of_lines(page(report())) == [5, 5, 5, 5]


def test_over_time_a_line_ends_where_no_machine_trained(told: Told, report: Report) -> None:
    told.interrupted(300, gap=6000)
    told.killed(200, gap=0)
    told.completed()
    assert lengths_of_lines(page(report())) == [10, 3, 7], "a short pause hides nothing"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (tag("p", "a < b & c"), "<p>a &lt; b &amp; c</p>"),
        (tag("p", tag("b", "x"), ["y", tag("i")]), "<p><b>x</b>y<i></i></p>"),
        (tag("p", class_='"><script>'), '<p class="&quot;&gt;&lt;script&gt;"></p>'),
        (tag("rect", x=1.5, view_box="0 0 1 1", title=None), '<rect x="1.5" viewBox="0 0 1 1"/>'),
        (joined("\x1b[2J\u202eexe", Markup("<b>")), "\\x1b[2J\\u202eexe<b>"),
        (tag("pre", "two\nlines"), "<pre>two\nlines</pre>"),
    ],
)
def test_markup_escapes_what_it_did_not_make(made: str, expected: str) -> None:
    assert made == expected
