"""A bucket that somebody else filled: ``holdfast run`` passes over each pair that must not be used, says why, and
resumes from the newest that is whole. Nothing in a file is executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.core.errors import Exit
from holdfast.core.manifest import MAX_MANIFEST_BYTES
from integration.daemons import Machines, machines

from . import forge
from .forge import Forger

RUN = "00001-count"
STEPS = {"STEPS": "60", "EVERY": "10"}


@pytest.fixture
def park(tmp_path: Path) -> Iterator[Machines]:
    with machines(str(tmp_path / "store"), tmp_path / "machines", {}) as found:
        yield found


@pytest.fixture
def forger(park: Machines, tmp_path: Path) -> Forger:
    """The store of a run that was stopped at step 30."""
    daemon = park.start("first", **STEPS, HOLD_AT="30")
    park.until_step("first", 30, daemon)
    assert daemon.terminate() == Exit.STOPPED, daemon.text
    return Forger(tmp_path / "store" / RUN)


def plant_all(forger: Forger) -> dict[str, str]:
    """Pairs that must be refused of every kind, by name, and what must be said of each."""
    said: dict[str, str] = {}

    def plant(what: str, **pair: Any) -> None:
        said[str(forger.plant(**pair))] = what

    # What the supervisor sees.
    plant("manifest's run", edit=lambda m: m.update(run="../../etc"))
    plant("manifest's run", edit=lambda m: m.update(run="/etc"))
    plant("belongs to run 00002-other", edit=lambda m: m.update(run="00002-other"))
    plant("about another checkpoint", edit=lambda m: m.update(name="../" + m["name"]))
    plant("does not list exactly", edit=lambda m: m["files"].update({"../../x": m["files"]["h5"]}))
    plant("not a short text", edit=lambda m: m.update(reason="\0\x1b[1mhello"))
    plant("manifest says 1099511627776", edit=lambda m: m["files"]["h5"].update(size=1 << 40))
    plant("not credible", edit=lambda m: m["files"]["pkl"].update(size=1 << 60))
    plant("not credible", raw=lambda text: text + b" " * MAX_MANIFEST_BYTES)
    plant("not JSON", raw=lambda text: text.replace(b'"batch": ', b'"batch": 1' + b"0" * 5000))
    plant("a key stands twice", raw=lambda text: text[:-1] + b', "run": "00001-count"}')
    plant("not JSON", raw=lambda text: text.decode().encode("utf-16"))
    plant("not JSON", raw=lambda text: b"\xef\xbb\xbf" + text)
    plant("no finite number", raw=lambda text: text.replace(b'"metrics": {', b'"metrics": {"x": NaN, '))
    plant("nested deeper", edit=lambda m: m.update(origin=json.loads("[" * 50 + "]" * 50)))
    larger = forger.plant()
    with (forger.folder / larger.file("h5")).open("ab") as file:
        file.write(b"x")
    said[str(larger)] = f"{len(forger.h5) + 1} bytes where its manifest says {len(forger.h5)}"
    flipped = bytearray(forger.h5)
    flipped[len(flipped) // 2] ^= 1
    name = forger.plant()
    (forger.folder / name.file("h5")).write_bytes(flipped)
    said[str(name)] = "differs from its checksum"

    # What only the training process sees: the checksums are right.
    plant("GLOBAL, which no plain value needs", pkl=forge.of_a_class())
    plant("nested deeper", pkl=forge.deep())
    plant("is not known", pkl=forger.facts(lambda d: d.update(format=2)))
    plant("about Position", pkl=forger.facts(lambda d: d["position"].update(step=31)))
    plant("about Position", name={"step": 10**9})
    plant("random states", pkl=forger.facts(forge.no_place))
    plant("ends before", h5=forger.h5[:700])
    plant("is said to hold more", pkl=forger.facts(lambda d: d["variables"].extend(more_of(d))))
    plant("place of an array", pkl=forger.facts(lambda d: d["variables"][0].update(at=[-8, "<f8", [100]])))
    plant("ends before", pkl=forger.facts(lambda d: d["variables"][0].update(at=[0, "<f8", [len(forger.h5) // 8 + 1]])))
    plant("not a number's", pkl=forger.facts(lambda d: d["variables"][0].update(at=[0, "O", [1]])))
    plant("is not an HDF5 file", h5=bytes(len(forger.h5)))
    plant("is damaged", h5=forger.h5[:700], pkl=forger.without_offsets("arrays/0"))
    make, what = forge.H5["an array that was never written"]
    plant(what, h5=forge.h5_file(make), pkl=forger.without_offsets("arrays/0"))
    return said


def more_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Several variables that are all the same bytes of the file."""
    [entry] = document["variables"]
    return [{**entry, "index": index, "h5": f"arrays/{index}"} for index in range(1, 100)]


def test_each_such_pair_is_passed_over_by_a_line_of_its_own(park: Machines, forger: Forger) -> None:
    said = plant_all(forger)
    stored = {path.name: path.stat().st_size for path in forger.folder.glob("model-*")}

    daemon = park.start("second", **STEPS)

    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert "from step 30" in daemon.text, daemon.text
    for name, what in said.items():
        lines = [line for line in daemon.lines if f"{name}: passed over" in line]
        assert len(lines) == 1, f"{what}: {lines}"
        assert what in lines[0]
        assert len(lines[0]) < 500
    assert "Traceback" not in daemon.text
    assert "\x1b[1m" not in daemon.text
    after = {path.name: path.stat().st_size for path in forger.folder.iterdir()}
    assert stored.items() <= after.items(), "what is refused is reported, never deleted"


def test_where_only_such_pairs_are_left_nothing_starts_over(park: Machines, forger: Forger) -> None:
    for path in forger.folder.glob("model-*.json"):
        path.unlink()
    forger.plant(pkl=forge.deep())
    forger.plant(edit=lambda m: m.update(run="../../etc"))
    daemon = park.start("second", **STEPS)
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "none is valid" in daemon.text
    assert "from step 0" not in daemon.text
    assert "Traceback" not in daemon.text


def test_a_name_that_uses_up_the_numbers_is_said_and_nothing_is_trained(park: Machines, forger: Forger) -> None:
    """Whoever goes on from the largest number could give no pair a name any more."""
    (forger.folder / "model-0001-00000030-0.5000-i999999999-q1.json").write_bytes(b"{}")
    daemon = park.start("second", **STEPS)
    assert daemon.wait() != Exit.COMPLETE
    assert "i999999999" in daemon.text
    assert "from step" not in daemon.text


def test_the_training_ends_as_if_nothing_had_been_there(park: Machines, forger: Forger, tmp_path: Path) -> None:
    forger.plant(h5=np.random.default_rng(1).bytes(5000))
    resumed = park.start("second", **STEPS)
    assert resumed.wait() == Exit.COMPLETE, resumed.text
    with machines(str(tmp_path / "other"), tmp_path / "others", {}) as undisturbed:
        whole = undisturbed.start("only", **STEPS)
        assert whole.wait() == Exit.COMPLETE, whole.text
    ending = [line for line in whole.lines if line.startswith("done")]
    assert ending == [line for line in resumed.lines if line.startswith("done")]
