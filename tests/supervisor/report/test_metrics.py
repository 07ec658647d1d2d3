from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes.pairs import name_of
from holdfast import __version__
from holdfast.core.errors import SettingsError
from holdfast.spool import Board, Progress, Spool
from holdfast.supervisor.report.journal import Journal
from holdfast.supervisor.report.metrics import MetricsServer
from holdfast.supervisor.report.view import Watch

RUN = "00001-digits"
NOW = datetime.now(UTC)


@pytest.fixture
def journal() -> Journal:
    return Journal(None, wall=lambda: NOW)


@pytest.fixture
def server(journal: Journal, tmp_path: Path) -> Iterator[MetricsServer]:
    server = MetricsServer("127.0.0.1", 0, Watch(journal, tmp_path).standing)
    yield server
    server.close()


def get(server: MetricsServer, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def scrape(server: MetricsServer) -> dict[str, float]:
    """The samples, with their labels' values behind the name."""
    families = text_string_to_metric_families(get(server, "/metrics"))
    samples = [sample for family in families for sample in family.samples]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_before_anything_happened_only_what_is_known_is_told(server: MetricsServer) -> None:
    found = scrape(server)
    assert found["holdfast_phase restoring"] == 1
    assert found["holdfast_checkpoints_stored_total"] == 0
    unknown = {"holdfast_last_stored_step", "holdfast_useful_batches_ratio", "holdfast_drain_left_seconds"}
    assert not {*unknown, "holdfast_ranks"} & set(found)


def test_every_promised_number_is_there(journal: Journal, server: MetricsServer, tmp_path: Path) -> None:
    spool = Spool(tmp_path / RUN)
    board = Board(spool.file(Board.FILE))
    journal.attach(spool.file("events.jsonl"))
    journal.event("lease", run=RUN, incarnation=3)
    journal.event("started", pid=1, command=[])
    journal.event("exited", code=1, orphans=2)
    journal.event("started", pid=2, command=[])
    board.write(Progress(50, 2, 5, 40))
    hour = NOW.timestamp() - 3600
    times = {"productive": 600.0, "validation": 60.0, "restore": 40.0, "gap": 1000.0}
    facts = {"interruptions": 1, "began": hour, "ended": hour + 1700, "seconds": times}
    journal.event("earlier-starts", starts=2, executed=30, base=0, **facts)
    journal.event("progress", "epoch 3/4", epochs=4, batches=16, batch_seconds=0.5)
    journal.event("saved", checkpoint=str(name_of(2)), seconds=0.25, reason="epoch")
    journal.event("stored", checkpoint=str(name_of(2)), bytes=1000, seconds=1.5, reason="epoch")
    journal.event("interval", seconds=38.0, cost=0.38)
    journal.event("store-away", "a 500", warning=True)
    journal.event("stalled", "no batch", warning=True)
    journal.event("notice", what="spot notice (terminate at 16:19:15 UTC)", seconds=119.0)
    journal.event("phase", phase="draining", seconds_left=110.0)
    found = scrape(server)
    expected = {
        f"holdfast_info {RUN} {__version__}": 1,
        "holdfast_phase draining": 1,
        "holdfast_phase running": 0,
        "holdfast_lease_incarnation": 3,
        "holdfast_restarts_total": 1,
        "holdfast_orphans_total": 2,
        "holdfast_epoch": 2,
        "holdfast_step": 40,
        "holdfast_epochs": 4,
        "holdfast_epoch_batches": 16,
        "holdfast_progress_ratio": 37 / 64,
        "holdfast_batch_seconds": 0.5,
        "holdfast_training_left_seconds": 13.5,
        "holdfast_batches_executed_total": 50,
        "holdfast_useful_batches_ratio": 0.8,
        "holdfast_run_starts": 3,
        "holdfast_run_batches_executed": 80,
        "holdfast_run_useful_batches_ratio": 0.5,
        "holdfast_run_interruptions": 1,
        "holdfast_run_seconds productive": 600,
        "holdfast_run_seconds validation": 60,
        "holdfast_checkpoints_saved_total": 1,
        "holdfast_save_seconds_count": 1,
        "holdfast_save_seconds_sum": 0.25,
        "holdfast_checkpoints_stored_total": 1,
        "holdfast_stored_bytes_total": 1000,
        "holdfast_store_duration_seconds_count": 1,
        "holdfast_store_duration_seconds_sum": 1.5,
        "holdfast_last_stored_step": 20,
        "holdfast_save_interval_seconds": 38,
        "holdfast_at_risk_seconds": 39.75,
        "holdfast_checkpoints_owed": 0,
        "holdfast_store_failures_total": 1,
        "holdfast_stalls_total": 1,
        "holdfast_notices_total spot terminate": 1,
        "holdfast_notice_standing": 1,
        "holdfast_events_total stored": 1,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["holdfast_last_stored_timestamp_seconds"] == pytest.approx(NOW.timestamp(), abs=0.01)
    assert found["holdfast_run_seconds gap"] == pytest.approx(2900, abs=1)
    assert 0 < found["holdfast_run_overall_goodput_ratio"] < found["holdfast_run_runtime_goodput_ratio"] <= 660 / 700
    assert 0 <= found["holdfast_last_stored_age_seconds"] < 3600
    assert 0 <= found["holdfast_drain_left_seconds"] <= 110
    assert found["process_resident_memory_bytes"] > 0


def test_a_gang_says_how_many_of_its_machines_are_there(journal: Journal, server: MetricsServer) -> None:
    journal.event("machine", host="a", ranks=3)
    for rank in (1, 2):
        journal.event("gang-joined", rank=rank, host="b", address="")
    journal.event("gang-lost", rank=2, host="b")
    found = scrape(server)
    names = ("holdfast_ranks", "holdfast_ranks_joined", "holdfast_gang_losses_total")
    assert [found[name] for name in names] == [3, 2, 1]


def test_names_follow_the_conventions(server: MetricsServer) -> None:
    families = list(text_string_to_metric_families(get(server, "/metrics")))
    assert all(family.documentation for family in families)
    ours = [family.name for family in families if family.name.startswith("holdfast_")]
    assert not [name for name in ours if name.endswith(("_count", "_ms", "_mb", "_percent"))]


def test_health_is_lost_with_the_phase_failed(journal: Journal, server: MetricsServer) -> None:
    assert json.loads(get(server, "/healthz")) == {"healthy": True, "run": None, "phase": "restoring"}
    journal.event("phase", phase="failed", seconds_left=None)
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(server, "/healthz")
    assert caught.value.code == 503
    caught.value.close()


def test_there_are_no_other_pages(server: MetricsServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(server, "/")
    assert caught.value.code == 404
    caught.value.close()


def test_a_port_that_is_taken_is_a_wrong_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"--metrics-port {port}: 127.0.0.1 cannot be listened on: Address"):
            MetricsServer("127.0.0.1", port, lambda: pytest.fail("asked"))


def test_a_host_that_does_not_exist_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="--metrics-port"):
        MetricsServer("256.0.0.1", 0, lambda: pytest.fail("asked"))
