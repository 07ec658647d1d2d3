"""The dashboard: what it asks for is served, and nothing in it overlaps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/holdfast.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [
    *(target["expr"] for panel in PANELS for target in panel["targets"]),
    *(variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"),
]
METRIC = re.compile(r"\bholdfast_\w+")
LABELS = re.compile(r"\{(?!\{)([^}]*)\}")


def served() -> dict[str, set[str]]:
    """Each metric's labels, by its name; the table in docs/watching.md is made by the code."""
    row = re.compile(r"^\| `(holdfast_\w+)(?:\{([\w, ]*)\})?` \| (\w+) \|", re.MULTILINE)
    rows = row.findall((ROOT / "docs/watching.md").read_text())
    found = {}
    for name, labels, kind in rows:
        for suffix in ("_count", "_sum") if kind == "summary" else ("",):
            found[name + suffix] = {label for label in labels.split(", ") if label}
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_each_query_names_metrics_that_are_served(query: str) -> None:
    names = METRIC.findall(query)
    assert names
    assert [name for name in names if name not in served()] == []


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_the_labels_that_a_panel_shows_are_those_of_its_metrics(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) - {"instance"}
        known = set().union(*(served()[name] for name in METRIC.findall(target["expr"])))
        assert shown <= known, target["expr"]


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
