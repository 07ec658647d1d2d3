"""README and docs: every link leads somewhere, every page says what it is for, and nothing named there is missing."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from click import Option

from holdfast.cli.run import run
from holdfast.core.errors import Exit

ROOT = Path(__file__).parent.parent
DOCS = sorted(ROOT.glob("docs/*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS]
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)", re.MULTILINE)
PATH = re.compile(r"`((?:benchmarks|daemon|deploy|docs|findings|tests)/[\w./@-]+)`")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Those that GitHub makes of the headings."""
    texts = (re.sub(r"[`*]", "", text).strip().lower() for text in HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


def links(page: Path) -> list[str]:
    return [link for link in LINK.findall(CODE.sub("", prose(page))) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    dead = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    assert [path for path in PATH.findall(prose(page)) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_every_page_begins_with_what_it_is_for(page: Path) -> None:
    title, first, *_ = page.read_text().split("\n\n")
    assert re.fullmatch(r"# .+", title)
    assert re.match(r"\w", first), "a sentence for the reader, before any heading, table, list or code"


def test_the_readme_leads_to_every_page() -> None:
    linked = {link.partition("#")[0] for link in links(ROOT / "README.md")}
    assert [name(page) for page in DOCS if name(page) not in linked] == []


def test_every_setting_of_run_is_documented() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    flags = [max(option.opts, key=len) for option in run.params if isinstance(option, Option)]
    assert [flag for flag in flags if f"`{flag}" not in page] == []


def test_every_exit_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs/exit-codes.md").read_text(), re.MULTILINE)
    assert {int(code) for code in rows} == set(Exit)


FOLDERS = ("deploy", "benchmarks", "findings")
SHIPPED = [
    *PAGES,
    *(ROOT / name for name in ("Dockerfile", "Makefile", "pyproject.toml", "constraints.txt")),
    *ROOT.glob("daemon/**/*.py"),
    *(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*") if path.is_file() and path.suffix != ".pyc"),
]
"""What a user reads or runs. The tests are left out, as they hold names that must be refused."""

NOT_A_FILE = r"\bholdfast(?:[-_]train)?(?![\w./-])(?:\[[\w,]*\])?(?!\S*\s+@|\S*\.whl)"
BY_NAME = re.compile(
    rf"(?:pip|pipx|uv pip|uv tool|conda|mamba) install [^\n`]*?{NOT_A_FILE}"  # a command
    rf"|^\s*[\"']?(?:holdfast|holdfast-train)(?:\[[\w,]*\])?\s*(?:[=~<>!]=|>|<)"  # a line of requirements
    r"|\bholdfast(?:-train)?(?:\[[\w,]*\])?[=~<>!]=\s*\d",  # or a part of one
    re.MULTILINE,
)


@pytest.mark.parametrize(
    "text",
    [
        "pip install holdfast",
        "python -m pip install -U 'holdfast[tensorflow]'",
        "pip install holdfast-train",
        "uv pip install holdfast[gpu]",
        "holdfast==0.1.0",
        "needs holdfast>=0.1",
    ],
)
def test_an_install_by_name_is_noticed(text: str) -> None:
    assert BY_NAME.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install '.[tensorflow]'",
        "pip install /opt/holdfast/code/holdfast_train-0.1.0-py3-none-any.whl",
        "pip install 'holdfast-train[gpu] @ file:///opt/holdfast_train-0.1.0-py3-none-any.whl'",
        "/opt/holdfast/bin/pip install .",
        "holdfast run --store s3://bucket",
    ],
)
def test_an_install_from_a_file_is_none_by_name(text: str) -> None:
    assert not BY_NAME.search(text)


def test_nobody_is_sent_to_another_projects_package() -> None:
    """The package index has another ``holdfast``: a clone or a wheel is what pip gets."""
    assert [(name(file), found) for file in SHIPPED for found in BY_NAME.findall(file.read_text())] == []


def test_the_distribution_has_a_name_of_its_own_and_its_extras_say_so() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "holdfast-train"
    assert project["scripts"] == {"holdfast": "holdfast.__main__:main"}
    extras = project["optional-dependencies"].values()
    needed = [*project["dependencies"], *(line for extra in extras for line in extra)]
    own = {line for line in needed if line.startswith("holdfast")}
    assert own == {"holdfast-train[tensorflow]"}


EXTRAS = re.compile(r"\bEXTRA=([\w,]+)|\bholdfast-train\[([\w,]+)\]|pip install '?\.\[([\w,]+)\]")


def test_every_extra_that_is_named_is_one_that_the_package_has() -> None:
    """pip only warns of another one."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    named = [("".join(found), name(file)) for file in SHIPPED for found in EXTRAS.findall(file.read_text())]
    assert named
    assert [(extras, file) for extras, file in named if not {*extras.split(",")} <= known] == []
