from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fakes.pairs import content_of
from fakes.stored import Run, name_of
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import SettingsError, Transient
from holdfast.inspect.pull import Puller
from holdfast.inspect.pull_artifacts import pull_artifacts
from holdfast.spool import Spool
from holdfast.store import Store


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run(store: MemoryStore, scratch: Path) -> Run:
    return Run(store, scratch)


class Pulling:
    """A pull into ``folder``; ``warnings`` is what was warned of."""

    def __init__(self, run: Run, folder: Path, store: Store | None = None) -> None:
        self.warnings: list[str] = []
        self.contents = run.contents()
        self.store = store or run.store
        self.puller = Puller(self.store, self.contents, folder, self.warnings.append, lambda name, done: None)
        self.result = self.puller.result

    @property
    def names(self) -> list[CheckpointName]:
        return [manifest.name for manifest in self.result.pairs]

    def newest(self) -> Pulling:
        self.puller.newest(list(self.contents.pairs))
        return self

    def artifacts(self) -> Pulling:
        folder = self.result.folder
        pull_artifacts(self.store, self.contents, folder, self.result, self.warnings.append, lambda name, done: None)
        return self


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "here" / "00001-digits"


def test_the_newest_pair_comes_whole_and_private(run: Run, folder: Path) -> None:
    run.pairs(1, 2)
    pulling = Pulling(run, folder).newest()
    assert pulling.names == [name_of(2)]
    assert sorted(path.name for path in folder.iterdir()) == [name_of(2).file(part) for part in ("h5", "json", "pkl")]
    assert (folder / name_of(2).file("h5")).read_bytes() == content_of(name_of(2), "h5")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_damaged_pairs_are_warned_of_and_passed_over(run: Run, folder: Path) -> None:
    run.pairs(1, 2, 3)
    run.flip(name_of(3))
    run.damage(name_of(2), "json", b"rot")
    pulling = Pulling(run, folder).newest()
    assert pulling.names == [name_of(1)]
    assert [str(name_of(3)) in pulling.warnings[0], str(name_of(2)) in pulling.warnings[1]] == [True, True]
    assert [path.name for path in folder.glob("*q3*")] == []


def test_nothing_is_fetched_of_a_pair_whose_sizes_are_not_the_manifests(
    run: Run, store: MemoryStore, folder: Path
) -> None:
    run.pairs(1)
    run.damage(name_of(1), "pkl", b"x" * 1_000_000)
    store.reads.clear()
    assert Pulling(run, folder).newest().names == []
    assert store.reads == [run.key(name_of(1), "json")]


def test_a_pair_of_another_run_is_passed_over(run: Run, store: MemoryStore, folder: Path) -> None:
    run.pairs(1)
    document = json.loads(store.objects[run.key(name_of(1), "json")])
    run.damage(name_of(1), "json", json.dumps({**document, "run": "00007-other"}).encode())
    assert "00007" in Pulling(run, folder).newest().warnings[0]


def test_what_is_here_with_the_same_content_is_not_fetched_again(run: Run, store: MemoryStore, folder: Path) -> None:
    run.pairs(1)
    Pulling(run, folder).newest()
    store.reads.clear()
    again = Pulling(run, folder).newest()
    assert (again.result.fetched, again.result.present) == (0, 2)
    assert store.reads == [run.key(name_of(1), "json")]


def test_a_file_that_was_changed_here_is_fetched_again(run: Run, folder: Path) -> None:
    run.pairs(1)
    Pulling(run, folder).newest()
    path = folder / name_of(1).file("h5")
    path.write_bytes(b"X" + path.read_bytes()[1:])
    again = Pulling(run, folder).newest()
    assert (again.result.fetched, again.result.present) == (1, 1)
    assert path.read_bytes() == content_of(name_of(1), "h5")


PULLED = [
    *(name_of(1).file(part) for part in ("h5", "pkl", "json")),
    "log.txt",
    "events.jsonl",
    "training_options.json",
]


@pytest.mark.parametrize("name", PULLED)
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_is_left(
    run: Run, folder: Path, tmp_path: Path, name: str, dangling: bool
) -> None:
    run.pairs(1)
    for key in ("log-i1.txt", "events-i1.jsonl", "training_options.json"):
        run.file(key, b"the run's\n")
    other = tmp_path / "other"
    if not dangling:
        other.write_bytes(b"somebody's")
    folder.mkdir(parents=True)
    (folder / name).symlink_to(other)
    pulling = Pulling(run, folder).newest()
    pulling.puller.files()
    assert sorted(path.name for path in folder.iterdir() if not path.is_symlink()) == sorted(PULLED)
    assert other.exists() is not dangling
    assert dangling or other.read_bytes() == b"somebody's"


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_place_of_the_runs_folder_is_refused(
    run: Run, folder: Path, tmp_path: Path, dangling: bool
) -> None:
    run.pairs(1)
    other = tmp_path / "other"
    if not dangling:
        other.mkdir()
    folder.parent.mkdir()
    folder.symlink_to(other)
    with pytest.raises(SettingsError, match=r"is a link, and pull follows none.*--to"):
        Pulling(run, folder)
    assert not other.exists() or list(other.iterdir()) == []


def test_all_pairs_come_and_the_damaged_ones_are_remembered(run: Run, folder: Path) -> None:
    run.pairs(1, 2, 3)
    run.flip(name_of(2))
    pulling = Pulling(run, folder)
    pulling.puller.every(list(pulling.contents.pairs))
    assert pulling.names == [name_of(3), name_of(1)]
    assert [listed.name for listed in pulling.result.damaged] == [name_of(2)]


def test_an_outage_in_the_middle_leaves_no_half_file(run: Run, folder: Path) -> None:
    run.pairs(1)
    flaky = FlakyStore(run.store).fail("fetch", Transient("away"), after=True, suffix=".pkl")
    with pytest.raises(Transient):
        Pulling(run, folder, flaky).newest()
    assert [path.name for path in folder.iterdir()] == [name_of(1).file("h5")]


def test_a_work_dir_is_not_pulled_into(run: Run, folder: Path) -> None:
    Spool(folder).identity()
    with pytest.raises(SettingsError, match="work dir of a training"):
        Pulling(run, folder)


# --- logs ----------------------------------------------------------------------------------------------------------


def test_logs_and_events_are_joined_in_the_order_of_incarnations(run: Run, folder: Path) -> None:
    for incarnation in (10, 9, 1):
        run.file(f"log-i{incarnation}.txt", f"incarnation {incarnation}\n".encode())
        run.file(f"events-i{incarnation}.jsonl", f'{{"i": {incarnation}}}\n'.encode())
    run.file("training_options.json", b'{"run": 1}')
    Pulling(run, folder).puller.files()
    assert (folder / "log.txt").read_text() == "incarnation 1\nincarnation 9\nincarnation 10\n"
    assert [json.loads(line)["i"] for line in (folder / "events.jsonl").read_text().splitlines()] == [1, 9, 10]
    assert sorted(path.name for path in folder.iterdir()) == ["events.jsonl", "log.txt", "training_options.json"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_log_that_was_cut_off_does_not_run_into_the_next(run: Run, folder: Path) -> None:
    for incarnation, text in ((1, b"cut o"), (2, b""), (3, b"goes on\n")):
        run.file(f"log-i{incarnation}.txt", text)
    Pulling(run, folder).puller.files()
    assert (folder / "log.txt").read_bytes() == b"cut o\ngoes on\n"


def test_what_is_no_log_is_not_joined(run: Run, folder: Path) -> None:
    for key in ("log-i1.txt.bak", "log-i01.txt", "log-i0.txt", "log-ix.txt", "artifacts/log-i2.txt"):
        run.file(key, b"no log\n")
    Pulling(run, folder).puller.files()
    assert list(folder.iterdir()) == []


def test_a_log_that_grew_since_it_was_listed_comes_as_it_is_now(run: Run, store: MemoryStore, folder: Path) -> None:
    run.file("log-i1.txt", b"one\n")
    pulling = Pulling(run, folder)
    store.objects["00001-digits/log-i1.txt"] = b"one\ntwo\n"
    pulling.puller.files()
    assert (folder / "log.txt").read_bytes() == b"one\ntwo\n"


def test_a_log_that_became_huge_since_it_was_listed_is_left_out_and_the_others_come(
    run: Run, store: MemoryStore, folder: Path
) -> None:
    run.file("log-i1.txt", b"one\n")
    run.file("log-i2.txt", b"two\n")
    pulling = Pulling(run, folder)
    store.objects["00001-digits/log-i1.txt"] = bytes(17 << 20)
    pulling.puller.files()
    assert (folder / "log.txt").read_bytes() == b"two\n"
    [warning] = pulling.warnings
    assert "log-i1.txt" in warning


# --- artifacts -----------------------------------------------------------------------------------------------------


def test_artifacts_come_with_their_folders(run: Run, folder: Path) -> None:
    run.file("artifacts/best.keras", b"best")
    run.file("artifacts/tb/train/events.1", b"events")
    pulling = Pulling(run, folder).artifacts()
    assert (folder / "artifacts/best.keras").read_bytes() == b"best"
    assert (folder / "artifacts/tb/train/events.1").read_bytes() == b"events"
    assert pulling.result.fetched == 2
    assert (folder / "artifacts/tb").stat().st_mode & 0o777 == 0o700
    assert (folder / "artifacts/best.keras").stat().st_mode & 0o777 == 0o600


def test_escaped_names_of_artifacts_are_spelled_out(run: Run, folder: Path) -> None:
    run.file("artifacts/a@2Cb/@C3@A9", b"x")
    Pulling(run, folder).artifacts()
    assert (folder / "artifacts/a,b/é").read_bytes() == b"x"


@pytest.mark.parametrize(
    "key", ["..", "../up", "a/../../up", "a//b", ".", "/etc/x", "@2E@2E/up", "a@2Fb", "@00", "x" * 256, "\x1b[2J", "é"]
)
def test_a_name_that_no_artifact_can_have_is_warned_of_and_makes_no_file(
    run: Run, store: MemoryStore, folder: Path, key: str
) -> None:
    store.objects[f"00001-digits/artifacts/{key}"] = b"evil"
    [warning] = Pulling(run, folder).artifacts().warnings
    assert "passed over" in warning
    assert warning.isprintable()
    assert [path for path in folder.parent.parent.rglob("*") if path.is_file()] == []


def test_a_hostile_name_is_warned_of_and_the_rest_comes(run: Run, store: MemoryStore, folder: Path) -> None:
    store.objects["00001-digits/artifacts/../../../evil"] = b"evil"
    store.objects["00001-digits/artifacts/@2E@2E/evil"] = b"evil"
    run.file("artifacts/good", b"good")
    pulling = Pulling(run, folder).artifacts()
    assert len(pulling.warnings) == 2
    assert [path.name for path in folder.parent.parent.rglob("*") if path.name in ("evil", "good")] == ["good"]


def test_an_artifact_that_became_larger_than_it_was_listed_is_left_out_and_the_rest_comes(
    run: Run, store: MemoryStore, folder: Path
) -> None:
    run.file("artifacts/a", b"a")
    run.file("artifacts/b", b"b")
    pulling = Pulling(run, folder)
    store.objects["00001-digits/artifacts/a"] = b"more"
    [warning] = pulling.artifacts().warnings
    assert "artifacts/a" in warning
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["b"]


@pytest.mark.parametrize("linked", ["artifacts", "artifacts/tb", "artifacts/tb/deep"])
@pytest.mark.parametrize("same", [False, True])
def test_no_artifact_is_written_or_found_through_a_link(
    run: Run, folder: Path, tmp_path: Path, linked: str, same: bool
) -> None:
    """Even where the very content is there already: what pull calls here is in the folder."""
    run.file("artifacts/tb/deep/x", b"x")
    run.file("artifacts.json", index(**{"tb/deep/x": b"x"}))
    other = tmp_path / "other"
    inside = other / "artifacts/tb/deep/x".removeprefix(linked).strip("/")
    inside.parent.mkdir(parents=True)
    if same:
        inside.write_bytes(b"x")
    (folder / linked).parent.mkdir(parents=True)
    (folder / linked).symlink_to(other)
    pulling = Pulling(run, folder).artifacts()
    [warning] = pulling.warnings
    assert f"{linked} is a link" in warning
    assert (pulling.result.fetched, pulling.result.present) == (0, 0)
    assert [path for path in other.rglob("*") if path.is_file()] == [inside] * same


def test_an_artifact_replaces_a_link_of_its_name_and_leaves_its_target(run: Run, folder: Path, tmp_path: Path) -> None:
    run.file("artifacts/x", b"x")
    other = tmp_path / "other"
    other.write_bytes(b"somebody's")
    (folder / "artifacts").mkdir(parents=True)
    (folder / "artifacts/x").symlink_to(other)
    assert Pulling(run, folder).artifacts().warnings == []
    assert other.read_bytes() == b"somebody's"
    assert not (folder / "artifacts/x").is_symlink()
    assert [path.name for path in folder.iterdir()] == ["artifacts"]


def test_an_artifact_in_the_place_of_a_folder_is_warned_of(run: Run, folder: Path) -> None:
    run.file("artifacts/a", b"1")
    run.file("artifacts/a/b", b"2")
    run.file("artifacts/c", b"3")
    pulling = Pulling(run, folder).artifacts()
    assert len(pulling.warnings) == 1
    assert (folder / "artifacts/c").read_bytes() == b"3"


def index(**files: bytes) -> bytes:
    entries = {
        key: {"size": len(data), "mtime_ns": 1, "sha256": hashlib.sha256(data).hexdigest()}
        for key, data in files.items()
    }
    return json.dumps({"format": 1, "files": entries}).encode()


def test_artifacts_that_are_here_by_the_index_are_not_fetched_again(run: Run, folder: Path) -> None:
    run.file("artifacts/good", b"good")
    run.file("artifacts.json", index(good=b"good"))
    Pulling(run, folder).artifacts()
    again = Pulling(run, folder).artifacts()
    assert (again.result.fetched, again.result.present) == (0, 1)


def test_an_artifact_that_differs_from_the_index_is_warned_of(run: Run, folder: Path) -> None:
    run.file("artifacts/good", b"evil")
    run.file("artifacts.json", index(good=b"good"))
    [warning] = Pulling(run, folder).artifacts().warnings
    assert "differs from its checksum" in warning


@pytest.mark.parametrize("data", [b"", b"[]", b"rot", b'{"files": []}', b'{"files": {"good": 1}}', b"[" * 100_000])
def test_an_index_that_cannot_be_read_is_passed_over(run: Run, folder: Path, data: bytes) -> None:
    run.file("artifacts/good", b"good")
    run.file("artifacts.json", data)
    assert Pulling(run, folder).artifacts().result.fetched == 1
