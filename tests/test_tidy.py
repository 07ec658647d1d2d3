"""What no linter checks: the code's folders, names and cross-references are in order."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import click
import grimp
import pytest
from importlinter.domain.contract import Contract

from holdfast.cli.main import cli
from import_contracts import NoCircle, Room

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "daemon/holdfast"
SOURCES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = {f"holdfast.cli.{name}" for name in cli.list_commands(click.Context(cli))}
ENTRIES = {
    *COMMANDS,
    "holdfast.__main__",
    "holdfast.examples.digits",
    "holdfast.supervisor.command.guardian",  # started by its file's name
    "holdfast.training.pair.locate",  # likewise
    "holdfast.auto.injected.sitecustomize",  # Python imports it by that name
    "holdfast.auto.hook",  # started by its file's name
    "holdfast.auto.standby",  # and so is this
    "holdfast.core.event_schema",  # docs/fill-tables makes tables of it
    "holdfast.core.machine.explain",  # likewise
}
MOST_MODULES = 15
RIDDLES = re.compile(r"\b(mend(s|ed|ing)?|errands?|whoever|(is|are) told|(goes|went) on)\b", re.IGNORECASE)
PLAIN = [*PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def imports(*links: tuple[str, str]) -> grimp.ImportGraph:
    graph = grimp.ImportGraph()
    for importer, imported in links:
        graph.add_import(importer=importer, imported=imported)
    graph.add_module("app")
    return graph


def contract(kind: type[Contract], **options: object) -> Contract:
    return kind(name="", session_options={"root_packages": ["app"]}, contract_options=options)


@pytest.mark.parametrize(
    ("links", "circle"),
    [
        ([("app.a", "app.b"), ("app.b", "app.c"), ("app.a", "app.c")], []),
        ([("app.a", "app.b"), ("app.b", "app.a")], ["app.a", "app.b", "app.a"]),
        ([("app.a", "app.b"), ("app.b", "app.c"), ("app.c", "app.b")], ["app.b", "app.c", "app.b"]),
        ([("app.a", "app.a.b"), ("app.a.b", "app.a")], ["app.a", "app.a.b", "app.a"]),
    ],
)
def test_a_circle_of_imports_is_found_also_between_a_package_and_its_own_module(
    links: list[tuple[str, str]], circle: list[str]
) -> None:
    check = contract(NoCircle).check(imports(*links), verbose=False)
    assert (check.kept, check.metadata["circle"]) == (not circle, circle)


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        (("app.store.s3", "app.store"), True),
        (("app.store.s3", "app.core.errors"), True),
        (("app.store.s3", "app"), True),
        (("app.store.s3", "boto3"), True),
        (("app.store.s3", "app.cli"), False),
        (("app.store", "app.corely"), False),
        (("app.store.s3", "app.store.extra.one"), False),
        (("app.store.extra.one", "app.cli"), True),
    ],
)
def test_a_room_imports_only_what_its_contract_lists(link: tuple[str, str], kept: bool) -> None:
    graph = imports(link, ("app.core", "app.core.errors"), ("app.store", "app.store.s3"))
    graph.add_module("app.store.extra")
    room = contract(Room, room="app.store", without=["app.store.extra"], may_import=["app.core"])
    assert room.check(graph, verbose=False).kept == kept


def test_a_contract_on_a_room_that_is_not_there_is_broken() -> None:
    check = contract(Room, room="app.stroe").check(imports(), verbose=False)
    assert check.metadata["faults"] == ["there is no module app.stroe"]


def test_each_module_is_imported_by_another_one() -> None:
    graph = grimp.build_graph("holdfast", cache_dir=None)
    modules = {name for name in graph.modules if not graph.find_children(name)} - ENTRIES
    assert [name for name in sorted(modules) if not graph.find_modules_that_directly_import(name)] == []


def test_a_folder_holds_at_most_fifteen_modules() -> None:
    folders: dict[str, int] = defaultdict(int)
    for path in SOURCES:
        folders[str(path.parent.relative_to(PACKAGE))] += path.name != "__init__.py"
    assert {folder: count for folder, count in folders.items() if count > MOST_MODULES} == {}


def test_a_type_checker_is_told_that_the_package_has_types() -> None:
    assert "Typing :: Typed" in (ROOT / "pyproject.toml").read_text()
    assert (PACKAGE / "py.typed").exists(), "without it mypy treats all of holdfast as Any (PEP 561)"


def test_a_public_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_each_invariant_that_the_code_cites_is_in_the_design() -> None:
    numbered = set(re.findall(r"^(\d+)\. \*\*", (ROOT / "docs/design.md").read_text(), re.MULTILINE))
    for path in [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]:
        cited = set(re.findall(r"\binvariant (\d+)", path.read_text()))
        assert cited <= numbered, f"{path.relative_to(ROOT)} cites {cited - numbered}, and docs/design.md lacks that"


@pytest.mark.parametrize("path", sorted(PLAIN), ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_uses_the_common_word(path: Path) -> None:
    """Fix, task, the user or the caller, receives, resumes or continues."""
    assert [found[0] for found in RIDDLES.finditer(path.read_text())] == []
