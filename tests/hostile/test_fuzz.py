"""Whatever the bytes are, a reader returns or raises the one error that it says it raises.

The short form runs with the other tests; ``whole`` runs longer. Only holdfast's own readers are tried, not Python's
unpickler and not the HDF5 library, which a process apart runs on foreign files (test_h5.py). What was found is kept as
explicit cases in test_restricted_pickle.py, test_pkl.py and test_h5.py.
"""

from __future__ import annotations

import contextlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fakes.stores import MemoryStore
from holdfast.core import restricted_pickle, wire
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import InvalidPair
from holdfast.core.manifest import Manifest
from holdfast.core.policy import LeaseTimes
from holdfast.spool import Spool
from holdfast.supervisor.restore.candidates import bring_newest, candidates
from holdfast.supervisor.restore.lease import Lease
from holdfast.training.pair import pair_files

from .noted import noted

FORMAT1 = next((Path(__file__).parent.parent / "data" / "00001-format1").glob("*.h5"))
H5, PKL, JSON = (FORMAT1.with_suffix(part).read_bytes() for part in (".h5", ".pkl", ".json"))
NAME = CheckpointName.parse(FORMAT1.stem)
assert NAME is not None

short = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
long = settings(max_examples=1_500, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.sampled_from([at, at + 1, at + 4, at + 100]))
        data[at:end] = draw(st.binary(max_size=8) | st.sampled_from([b"\0" * 8, b"\xff" * 8, bytes(data[:50])]))
    return bytes(data)


PLAIN = b"()]}JKMGNtueas.h\x80\x85\x86\x87\x88\x89\x8a\x8c\x94\x95CBX"  # what builds plain values
OPCODES = [bytes([code]) for code in PLAIN + b"0RboV"]
ARGUMENTS = st.binary(max_size=9) | st.sampled_from([b"\0", b"\x01", b"\0\0\0\0", b"\x01\0\0\0", b"\x01x"])
programs = st.lists(st.tuples(st.sampled_from(OPCODES), ARGUMENTS | st.just(b""))).map(
    lambda parts: b"\x80\x04" + b"".join(code + argument for code, argument in parts) + b"."
)


def reads_or_refuses(data: bytes) -> None:
    with contextlib.suppress(InvalidPair):
        value = restricted_pickle.loads(data)
        assert repr(restricted_pickle.loads(restricted_pickle.dumps(value))) == repr(value)


pickles = st.binary() | programs | mutated(PKL) | mutated(pickle.dumps({"a": [1, ("b", 2.0)]}, protocol=4))


@given(pickles)
@short
def test_any_pkl_is_read_or_refused(data: bytes) -> None:
    reads_or_refuses(data)


@pytest.mark.whole
@pytest.mark.timeout(1800)
@given(pickles)
@long
def test_any_pkl_is_read_or_refused_at_length(data: bytes) -> None:
    reads_or_refuses(data)


# --- whole pairs ---------------------------------------------------------------------------------------------------

SOURCE = st.sampled_from(["h5", "pkl"])  # not both: the HDF5 library is asked about whole files only


def loads_or_refuses(folder: Path, h5: bytes, pkl: bytes) -> None:
    (folder / "pair.h5").write_bytes(h5)
    (folder / "pair.pkl").write_bytes(pkl)
    with contextlib.suppress(InvalidPair):
        saved = pair_files.load(folder / "pair.h5", folder / "pair.pkl")
        assert sum(array.nbytes for _, array in saved.values.values()) <= 4 * (len(h5) + len(pkl))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pair")


@pytest.fixture(scope="module")
def with_offsets() -> bytes:
    """The fixture's ``.pkl`` as it is written today."""

    document = restricted_pickle.loads(PKL)
    pieces = noted(FORMAT1, [entry["h5"] for entry in document["variables"] if "h5" in entry])
    for entry in document["variables"]:
        if "h5" in entry:
            entry["at"] = pieces[entry["h5"]].plain()
    return restricted_pickle.dumps(document)


@given(st.data())
@short
def test_any_pair_is_read_or_refused(folder: Path, with_offsets: bytes, data: st.DataObject) -> None:
    source = data.draw(SOURCE)
    h5 = H5 if source == "pkl" else data.draw(mutated(H5))
    pkl = with_offsets if source == "h5" else data.draw(mutated(with_offsets))
    loads_or_refuses(folder, h5, pkl)


@pytest.mark.whole
@pytest.mark.timeout(1800)
@given(st.data())
@long
def test_any_pair_is_read_or_refused_at_length(folder: Path, with_offsets: bytes, data: st.DataObject) -> None:
    source = data.draw(SOURCE)
    h5 = H5 if source == "pkl" else data.draw(mutated(H5))
    pkl = with_offsets if source == "h5" else data.draw(mutated(with_offsets))
    loads_or_refuses(folder, h5, pkl)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["group", "index", "path", "h5", "at", "value"]), st.integers(0, 7), plain)
@short
@example("at", 0, [8, "<f4", [1 << 40]])
def test_any_value_in_the_place_of_another_is_read_or_refused(
    folder: Path, with_offsets: bytes, key: str, index: int, value: Any
) -> None:
    document = restricted_pickle.loads(with_offsets)
    document["variables"][index][key] = value
    loads_or_refuses(folder, H5, restricted_pickle.dumps(document))


# --- what the supervisor reads -------------------------------------------------------------------------------------

documents = mutated(JSON) | st.binary() | plain.filter(lambda v: not isinstance(v, bytes)).map(repr).map(str.encode)


def manifest_or_refusal(data: bytes) -> None:
    assert NAME is not None
    with contextlib.suppress(InvalidPair):
        manifest = Manifest.from_json(data, NAME)
        assert Manifest.from_json(manifest.to_json(), NAME) == manifest
        assert set(manifest.files) == {"h5", "pkl"}
        assert "/" not in manifest.run
        assert all(t.isprintable() for t in (manifest.run, manifest.kind, manifest.reason, manifest.created))


@given(documents)
@short
def test_any_manifest_is_read_or_refused(data: bytes) -> None:
    manifest_or_refusal(data)


@pytest.mark.whole
@pytest.mark.timeout(1800)
@given(documents)
@long
def test_any_manifest_is_read_or_refused_at_length(data: bytes) -> None:
    manifest_or_refusal(data)


spelled = st.text(alphabet="model-0123456789.einfq+\0/\n\u0661", max_size=60).map(lambda text: f"model-{text}")


@given(st.text() | spelled | mutated(FORMAT1.stem.encode()).map(lambda data: data.decode("latin-1")))
@short
def test_any_name_is_a_checkpoints_or_none(text: str) -> None:
    name = CheckpointName.parse(text)
    assert name is None or (str(name) == text and "/" not in text and text.isprintable())


MESSAGES = [wire.encode(message) for message in (wire.Hello(1), wire.Stop("x"), wire.TrainingBegan(None))]


@given(st.binary() | st.sampled_from(MESSAGES).flatmap(mutated) | st.integers(1, 2000).map(lambda n: b"[" * n))
@short
@example(b'{"kind": "hello", "pid": ' + b"9" * 10_000 + b"}")
@example(b'{"kind": "hello", "pid": 1, "cls": 1}')
@example(b'{"kind": {}, "pid": 1}')
def test_any_line_is_a_message_or_refused(line: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        assert wire.decode(wire.encode(wire.decode(line))) == wire.decode(line)


LEASE = json.dumps({"format": 1, "state": "held", "incarnation": 3, "holder": "x", "spool": "y", "expiry": 30}).encode()
leases = st.binary() | mutated(LEASE) | plain.map(lambda v: json.dumps({"expiry": repr(v), "host": repr(v)}).encode())


@given(leases | st.sampled_from([b'{"incarnation": 1e400}', b'{"expiry": NaN}', b'{"expiry": "1"}', b"[" * 2000]))
@short
@example(b'{"host": "\\u001b[1mbold", "incarnation": 3}')
@example(b'{"host": "x", "incarnation": ' + b"9" * 5000 + b"}")
def test_any_lease_is_waited_out_and_taken(document: bytes) -> None:
    store = MemoryStore()
    store.create("run/lease.json", document)
    now = iter(range(10_000_000))
    lease = Lease(store, "run/lease.json", "spool", LeaseTimes(), lambda who: None, clock=lambda: float(next(now)))
    waited: list[str] = []

    class Soon:
        """The event that is never set, and waits no time."""

        def wait(self, seconds: float) -> bool:
            return False

    assert 1 <= lease.acquire(0, Soon(), waited.append) <= 10**8  # type: ignore[arg-type]
    assert all(text.isprintable() for text in waited)


@given(st.sampled_from(["json", "h5", "pkl"]), st.binary(max_size=100) | mutated(JSON))
@short
def test_any_object_in_the_store_is_brought_or_passed_over(
    tmp_path_factory: pytest.TempPathFactory, part: str, data: bytes
) -> None:
    run = "00001-format1"
    store, spool = MemoryStore(), Spool(tmp_path_factory.mktemp("work") / run)
    older = CheckpointName(NAME.epoch, NAME.step, NAME.loss, 1, 0) if NAME else None
    assert older is not None
    for name in (older, NAME):
        text = JSON.replace(str(NAME).encode(), str(name).encode())
        for kind, content in (("h5", H5), ("pkl", PKL), ("json", text)):
            store.create(f"{run}/{name}.{kind}", content)
    key = f"{run}/{NAME}.{part}"
    whole = store.objects[key]
    store.objects[key] = data
    said: list[str] = []
    manifest = bring_newest(store, spool, candidates(store, spool), said.append)
    assert manifest is not None
    if data != whole:
        assert manifest.name == older or part == "json"
    assert all(line.isprintable() for line in said)
