from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.artifacts import (
    Plan,
    Seen,
    Stored,
    from_key,
    is_storable,
    plan,
    read_index,
    shown,
    to_key,
    write_index,
)
from holdfast.store import check_key

NOW = 10**18
OLD = NOW - 60 * 10**9
DIGEST = "0" * 64


def seen(size: int, mtime_ns: int = OLD, inode: int = 1) -> Seen:
    return Seen(size, mtime_ns, inode)


def planned(
    tree: dict[str, Seen | str],
    stored: dict[str, Stored] | None = None,
    later: set[str] | None = None,
    limit: int = 1000,
    now_ns: int | None = NOW,
) -> Plan:
    return plan(tree, stored or {}, later or set(), limit, now_ns)


# --- what is brought -----------------------------------------------------------------------------------------------


def test_the_smallest_file_goes_first() -> None:
    assert planned({"b": seen(30), "a": seen(30), "large": seen(200), "small": seen(1)}).bring == (
        "small",
        "a",
        "b",
        "large",
    )


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        (seen(5), False),
        (seen(6), True),
        (seen(5, OLD - 1), True),
        (seen(5, OLD, inode=2), True),
    ],
    ids=["same", "size", "time", "inode"],
)
def test_only_what_changed_is_brought_again(now: Seen, wanted: bool) -> None:
    assert bool(planned({"a": now}, {"a": Stored(5, OLD, DIGEST, 1)}).bring) is wanted


def test_an_index_knows_no_inodes_and_its_files_are_recognised_all_the_same() -> None:
    assert planned({"a": seen(5, inode=77)}, {"a": Stored(5, OLD, DIGEST)}).bring == ()


def test_a_file_that_is_being_written_waits_for_one_look_and_no_longer() -> None:
    tree: dict[str, Seen | str] = {"busy": seen(5, NOW - 10**9)}
    first = planned(tree)
    assert (first.bring, first.later) == ((), {"busy"})
    second = planned(tree, later={"busy"})
    assert (second.bring, second.later) == (("busy",), frozenset())


def test_at_the_end_nothing_waits() -> None:
    assert planned({"busy": seen(5, NOW)}, now_ns=None).bring == ("busy",)


def test_what_does_not_fit_is_left_out_with_the_settings_name() -> None:
    found = planned({"large": seen(900), "small": seen(200)})
    assert found.bring == ("small",)
    assert found.left_out == {"large": "it does not fit into --artifacts-limit (1000 bytes)"}


def test_a_new_file_does_not_push_out_what_the_store_has() -> None:
    found = planned({"kept": seen(901), "new": seen(100)}, {"kept": Stored(900, OLD, DIGEST)})
    assert found.bring == ("kept",)
    assert set(found.left_out) == {"new"}


def test_what_was_no_file_keeps_its_reason() -> None:
    assert planned({"socket": "it is no regular file"}).left_out == {"socket": "it is no regular file"}


def test_a_name_that_no_store_takes_is_left_out() -> None:
    found = planned({"ü" * 100: seen(1), "/".join(["x" * 100] * 8): seen(1), "x" * 200: seen(1)})
    assert found.bring == ("x" * 200,)
    assert set(found.left_out.values()) == {"its name is too long"}


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("train/events.out.tfevents.1.host.7.0.v2", "train/events.out.tfevents.1.host.7.0.v2"),
        ("lr=0.1+wd/best model.keras", "lr=0.1+wd/best model.keras"),
        ("Grüße.txt", "Gr@C3@BC@C3@9Fe.txt"),
        ("a@b", "a@40b"),
        (".hidden/.tmp-x", "@2Ehidden/@2Etmp-x"),
        ("a\nb\\c:d", "a@0Ab@5Cc@3Ad"),
        ("broken\udcff", "broken@FF"),
    ],
)
def test_a_name_becomes_a_key_and_back(path: str, key: str) -> None:
    assert to_key(path) == check_key(key)
    assert from_key(key) == path


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4))
def test_every_name_that_a_file_can_have_comes_back(parts: list[bytes]) -> None:
    path = b"/".join(parts).decode("utf-8", "surrogateescape")
    if any(part in ("", ".", "..") or "\0" in part for part in path.split("/")):
        with pytest.raises(ValueError, match="not a relative path"):
            to_key(path)
    else:
        assert from_key(check_key(to_key(path)) if is_storable(path) else to_key(path)) == path


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "..", "../a", "a/../b", "a/", "a//b", "@2E@2E/a", "a@2Fb", "a@00b", "@61", "a@4g", "é", ".a"],
)
def test_a_hostile_key_has_no_path(key: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_key(key)


def test_a_person_sees_no_control_characters() -> None:
    assert shown(["a\x1b[2J", "b\udcff"]) == "'a\\x1b[2J', 'b\\udcff'"
    assert shown("edcba") == "a, b, c and 2 more"


# --- the index -----------------------------------------------------------------------------------------------------


def test_the_index_comes_back_as_it_was_written() -> None:
    stored = {"a b/ü": Stored(5, OLD, DIGEST), "growing": Stored(7, OLD, None)}
    assert read_index(write_index(stored)) == stored


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"files": []}',
        b"[" * 100_000,
        b'{"files": {"a": {}}}',
        json.dumps({"files": {"../a": {"size": 1, "mtime_ns": 1, "sha256": None}}}).encode(),
        json.dumps({"files": {"a": {"size": True, "mtime_ns": 1, "sha256": None}}}).encode(),
        json.dumps({"files": {"a": {"size": 1, "mtime_ns": 1.5, "sha256": None}}}).encode(),
        json.dumps({"files": {"a": {"size": 1, "mtime_ns": -1, "sha256": None}}}).encode(),
        json.dumps({"files": {"a": {"size": 1, "mtime_ns": 1 << 80, "sha256": None}}}).encode(),
        json.dumps({"files": {"a": {"size": 1, "mtime_ns": 1, "sha256": 5}}}).encode(),
    ],
)
def test_an_index_that_is_none_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_index(document)
