from __future__ import annotations

import pytest

from holdfast.supervisor.doctor import Unit
from holdfast.supervisor.doctor.probe_unit import ask_systemctl, own_unit, time_span, unit_facts

OWN = "0::/system.slice/system-holdfast.slice/holdfast@digits.service\n"
LOGIN = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/gnome.service\n"
SHOWN = "Type=notify\nTimeoutStopUSec=2min 30s\nWatchdogUSec=1min\nLoadState=loaded\nKillMode=mixed\n"
NONE = "Type=simple\nTimeoutStopUSec=1min 30s\nWatchdogUSec=0\nLoadState=not-found\nKillMode=control-group\n"
UNIT = Unit("holdfast@digits.service", stop=150.0, watchdog=60.0, notify=True, kill_mode="mixed")


def systemd(**shown: str) -> dict[str, str]:
    return {f"holdfast@{run}.service": text for run, text in shown.items()}


def test_the_service_that_this_is_is_found_by_its_cgroup() -> None:
    assert own_unit(OWN) == "holdfast@digits.service"
    assert own_unit("1:name=systemd:/system.slice/holdfast@digits.service/sub\n0::/\n") == "holdfast@digits.service"
    assert own_unit(LOGIN) is None
    assert own_unit("0::/init.scope\n") is None
    assert own_unit("") is None


def test_what_systemd_has_loaded_for_it_is_read() -> None:
    assert unit_facts(OWN, None, systemd(digits=SHOWN).__getitem__) == UNIT


def test_at_a_terminal_the_unit_of_the_run_is_looked_at() -> None:
    assert unit_facts(LOGIN, "digits", systemd(digits=SHOWN).__getitem__) == UNIT


def test_a_unit_that_systemd_does_not_know_is_none() -> None:
    assert unit_facts(LOGIN, "digits", systemd(digits=NONE).__getitem__) is None
    assert unit_facts(OWN, None, lambda unit: "") is None
    assert unit_facts(LOGIN, None, systemd().__getitem__) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2min 30s", 150.0),
        ("1min", 60.0),
        ("500ms", 0.5),
        ("1h 1min 1s", 3661.0),
        ("1.5s", 1.5),
        ("infinity", float("inf")),
        ("0", 0.0),
        ("", None),
        ("soon", None),
    ],
)
def test_systemds_time_spans_are_read(text: str, seconds: float | None) -> None:
    assert time_span(text) == seconds


def test_a_machine_without_systemd_answers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert ask_systemctl("holdfast@digits.service") == ""
