"""Nothing is written to events.jsonl that its documentation doesn't know, and the other way round."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from holdfast.core.event_schema import KINDS, as_markdown

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("core", "supervisor", "cli")
CALLS = {"event", "say", "_say", "_once", "Say"}
CONSOLE = "show"  # its `say` is a line for who called the command
NO_FACTS = {"text", "warning", "debug"}


def reported() -> Iterator[tuple[str, str, set[str]]]:
    """Where an event is reported, its kind and its facts, as the code says it."""
    for room in ROOMS:
        for path in (ROOT / "daemon/holdfast" / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                kind = node.args[0]
                if isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == CONSOLE:
                    continue
                if name in CALLS and isinstance(kind, ast.Constant) and isinstance(kind.value, str):
                    facts = {keyword.arg for keyword in node.keywords if keyword.arg} - NO_FACTS
                    yield f"{path.name}:{node.lineno}", kind.value, facts


def test_every_event_in_the_code_is_documented_with_all_its_facts() -> None:
    unknown = [
        (where, kind, facts)
        for where, kind, facts in reported()
        if kind not in KINDS or facts - KINDS[kind].facts.keys()
    ]
    assert unknown == []


def test_every_documented_event_and_fact_is_in_the_code() -> None:
    found: dict[str, set[str]] = {}
    for _, kind, facts in reported():
        found.setdefault(kind, set()).update(facts)
    assert {kind: set(known.facts) for kind, known in KINDS.items()} == found


def test_the_document_holds_the_tables_of_the_code() -> None:
    assert as_markdown() in (ROOT / "docs/events.md").read_text()
