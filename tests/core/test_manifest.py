from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import InvalidPair
from holdfast.core.manifest import LEAST_PART_BYTES, MAX_MANIFEST_BYTES, FileParts, FileRecord, Manifest

from .test_checkpoint_name import NAME, SPELLED, counts, names

FILES = {"h5": FileRecord(1_000_000, "a" * 64), "pkl": FileRecord(2_000, "0123456789abcdef" * 4)}
MANIFEST = Manifest(
    name=NAME,
    run="00001-digits",
    batch=120,
    kind="model",
    reason="epoch",
    created="2025-01-02T03:04:05+00:00",
    files=FILES,
    metrics={"loss": 0.1284, "accuracy": None, "epochs": 3},
    origin={"command": ["python", "train.py"], "versions": {"keras": "3.8.0"}},
)

texts = st.text(max_size=100)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def document(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(MANIFEST.to_json())
    return {**whole, **changes}


def read(document: Any) -> Manifest:
    return Manifest.from_json(json.dumps(document).encode(), NAME)


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    assert Manifest.from_json(MANIFEST.to_json(), NAME) == MANIFEST
    assert MANIFEST.size == 1_002_000


@given(
    name=names,
    batch=counts,
    metrics=st.dictionaries(texts, st.none() | st.floats(allow_nan=False, allow_infinity=False)),
    origin=st.dictionaries(texts, json_values, max_size=4),
    sizes=st.tuples(counts, counts),
)
@settings(deadline=None)
def test_any_manifest_is_read_back(
    name: CheckpointName,
    batch: int,
    metrics: dict[str, float | None],
    origin: dict[str, Any],
    sizes: tuple[int, int],
) -> None:
    files = {part: FileRecord(size, "f" * 64) for part, size in zip(("h5", "pkl"), sizes, strict=True)}
    manifest = replace(MANIFEST, name=name, batch=batch, metrics=metrics, origin=origin, files=files)
    assert Manifest.from_json(manifest.to_json(), name) == manifest


def test_a_manifest_is_plain_json_that_other_programs_can_read() -> None:
    strict = json.loads(replace(MANIFEST, metrics={"loss": math.nan}).to_json(), parse_constant=pytest.fail)
    assert strict["metrics"] == {"loss": None}
    said = {key: strict[key] for key in ("name", "epoch", "step", "loss", "finite", "incarnation", "save")}
    assert list(said.values()) == [SPELLED, 3, 940, "0.1284", True, 2, 17]


def test_a_manifest_of_a_later_writer_may_say_more() -> None:
    assert read(document(novelty=[1, 2, 3])) == MANIFEST


def test_the_pairs_that_it_needs_are_read_back_and_an_early_version_needs_none() -> None:
    needs = (replace(NAME, save=3), replace(NAME, save=9))
    manifest = replace(MANIFEST, needs=needs)
    assert Manifest.from_json(manifest.to_json(), NAME).needs == needs
    early = document()
    del early["needs"]
    assert read(early).needs == ()


def test_the_artifacts_that_it_comes_after_are_read_back_and_an_early_version_has_none() -> None:
    artifacts = ("best.keras", "tb/events.1", "ä \n")
    manifest = replace(MANIFEST, artifacts=artifacts)
    assert Manifest.from_json(manifest.to_json(), NAME).artifacts == artifacts
    early = document()
    del early["artifacts"]
    assert read(early).artifacts == ()


def test_how_the_place_in_the_data_is_kept_stands_in_the_manifest_and_in_no_early_one() -> None:
    manifest = replace(MANIFEST, data="the state of its iterator")
    assert Manifest.from_json(manifest.to_json(), NAME).data == manifest.data
    early = document()
    del early["data"]
    assert read(early).data == ""


@pytest.mark.parametrize("artifacts", [7, {}, "x", [7], ["../x"], ["/x"], [""], [".x"], [None]])
def test_artifacts_that_are_not_the_names_of_files_there_are_invalid(artifacts: Any) -> None:
    with pytest.raises(InvalidPair, match="artifacts"):
        read(document(artifacts=artifacts))


@pytest.mark.parametrize(
    "needs", [7, {}, "x", [7], ["../x"], [SPELLED], [None], ["model-0003-00000940-0.1284-i2-q3"] * 2]
)
def test_needs_that_are_not_the_names_of_other_pairs_are_invalid(needs: Any) -> None:
    with pytest.raises(InvalidPair, match="needs"):
        read(document(needs=needs))


def test_metrics_and_origin_may_be_missing() -> None:
    sparse = {key: value for key, value in document().items() if key not in ("metrics", "origin")}
    assert read(sparse) == replace(MANIFEST, metrics={}, origin={})


PARTS = FileParts(8 << 20, ("a" * 64, "b" * 64, "c" * 64), (1, 2, 0xFFFFFFFF))
IN_PARTS = FileRecord(20 << 20, PARTS.whole(), 7, PARTS)


def in_parts(**changes: Any) -> dict[str, Any]:
    """A document whose .h5 has parts, with those changes to what is said of it."""
    whole: dict[str, Any] = json.loads(replace(MANIFEST, files={**FILES, "h5": IN_PARTS}).to_json())
    return {**whole, "files": {**whole["files"], "h5": {**whole["files"]["h5"], **changes}}}


def test_a_large_files_parts_are_read_back_and_make_another_format() -> None:
    found = read(in_parts())
    assert found.files["h5"] == IN_PARTS
    assert found.files["h5"].parts is not None
    assert found.files["h5"].parts.crc32 == PARTS.crc32
    assert [document()["format"], in_parts()["format"]] == [1, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": None},
        {"parts": {}},
        {"size": 9 << 20},
        {"size": 30 << 20},
        {"sha256_of_parts": "f" * 64},
        {"sha256_of_parts": 7},
        *(
            {"parts": {"size": 8 << 20, "sha256": list(PARTS.sha256), "crc32": ["00000001"] * 3, **wrong}}
            for wrong in (
                {"size": LEAST_PART_BYTES - 1},
                {"size": True},
                {"size": 1e7},
                {"sha256": ["a" * 64] * 3},
                {"sha256": ["a" * 63] * 3},
                {"sha256": {"a" * 64: 1}},
                {"crc32": ["1"] * 3},
                {"crc32": ["00000001"] * 2},
                {"crc32": None},
            )
        ),
    ],
    ids=str,
)
def test_parts_that_are_not_the_files_are_invalid(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidPair, match=r"\.h5"):
        read(in_parts(**changes))


GOOD_FILE = {"size": 1, "sha256": "a" * 64}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 3},
        {"format": None},
        {"name": str(replace(NAME, save=18))},
        {"name": "../" + SPELLED},
        {"name": 7},
        {"run": None},
        {"run": ["00001-digits"]},
        {"run": "x" * 1001},
        {"kind": 1},
        {"reason": {}},
        {"created": 0},
        {"batch": -1},
        {"batch": "120"},
        {"batch": 1.0},
        {"batch": True},
        {"batch": None},
        {"files": None},
        {"files": []},
        {"files": {}},
        {"files": {"h5": GOOD_FILE}},
        {"files": {"h5": GOOD_FILE, "pkl": GOOD_FILE, "../../etc/passwd": GOOD_FILE}},
        {"files": {"h5": GOOD_FILE, "pkl": []}},
        {"files": {"h5": GOOD_FILE, "pkl": None}},
        {"metrics": []},
        {"metrics": {"loss": "low"}},
        {"metrics": {"loss": [1.0]}},
        {"metrics": {"loss": True}},
        {"metrics": {"loss": 10**400}},
        {"origin": "here"},
    ],
    ids=json.dumps,
)
def test_a_hostile_manifest_is_invalid(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidPair, match=SPELLED):
        read(document(**changes))


@pytest.mark.parametrize(
    "record",
    [
        {"size": -1},
        {"size": 1 << 50},
        {"size": 10**30},
        {"size": 1.0},
        {"size": True},
        {"size": "1"},
        {"size": None},
        {"sha256": "A" * 64},
        {"sha256": "a" * 63},
        {"sha256": "a" * 64 + "\n"},
        {"sha256": "../" + "a" * 61},
        {"sha256": None},
        {"sha256": ["a" * 64]},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("part", ["h5", "pkl"])
def test_a_file_record_that_is_not_credible_is_invalid(part: str, record: dict[str, Any]) -> None:
    with pytest.raises(InvalidPair, match=f".{part}"):
        read(document(files={"h5": GOOD_FILE, "pkl": GOOD_FILE, part: {**GOOD_FILE, **record}}))


@pytest.mark.parametrize("key", ["format", "name", "run", "batch", "kind", "reason", "created", "files"])
def test_a_manifest_that_lacks_a_field_is_invalid(key: str) -> None:
    with pytest.raises(InvalidPair):
        read({k: v for k, v in document().items() if k != key})


WHOLE = MANIFEST.to_json()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"model"',
        b"\xff\xfe\x00",
        WHOLE + b"{}",
        b"[" * 500_000,
        WHOLE.replace(b'"3.8.0"', b'{"x":' * 100_000),
        WHOLE.replace(b'"3.8.0"', b"[" * 100 + b"]" * 100),
        WHOLE.replace(b"120", b"9" * 10_000),
        WHOLE.replace(b'"3.8.0"', b"NaN"),
        WHOLE.replace(b'"3.8.0"', b"1e999"),
        WHOLE.replace(b"0.1284,", b"-Infinity,"),
        WHOLE + b" " * MAX_MANIFEST_BYTES,
    ],
    ids=lambda data: repr(data[:12]) + str(len(data)),
)
def test_what_is_not_a_small_flat_json_object_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidPair):
        Manifest.from_json(data, NAME)


@pytest.mark.parametrize("end", range(0, len(WHOLE.rstrip()), 7))
def test_a_truncated_manifest_is_invalid(end: int) -> None:
    with pytest.raises(InvalidPair):
        Manifest.from_json(WHOLE[:end], NAME)


@given(
    st.binary()
    | st.builds(lambda value: json.dumps(value).encode(), json_values)
    | st.builds(
        lambda key, value: json.dumps(document(**{key: value})).encode(),
        st.sampled_from(sorted(document())),
        json_values,
    )
    | st.builds(lambda at, byte: WHOLE[:at] + byte + WHOLE[at + 1 :], st.integers(0, len(WHOLE)), st.binary(max_size=2))
)
@settings(deadline=None, max_examples=500)
def test_whatever_is_read_is_invalid_or_a_manifest_that_can_be_written_again(data: bytes) -> None:
    with contextlib.suppress(InvalidPair):
        manifest = Manifest.from_json(data, NAME)
        assert Manifest.from_json(manifest.to_json(), NAME) == manifest
