from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fakes.pairs import name_of
from holdfast.core.view import Course, Earlier, Facts, notice_kind, useful_batches

START = 1_795_364_226.0  # 2026-11-22T16:17:06Z


def event(kind: str, at: int = 0, text: str = "", **facts: Any) -> dict[str, Any]:
    return {"at": f"2026-11-22T16:17:{6 + at:02d}.000+00:00", "event": kind, "text": text, **facts}


def after(*events: dict[str, Any]) -> Facts:
    facts = Facts()
    for one in events:
        facts = facts.after(one)
    return facts


def test_the_first_event_is_the_beginning() -> None:
    assert after(event("waiting", 1), event("fresh", 5)).began == START + 1


def test_the_run_its_lease_and_its_process_are_known() -> None:
    facts = after(event("lease", run="00001-digits", incarnation=3), event("started", pid=77, command=["x"]))
    assert (facts.run, facts.incarnation, facts.pid) == ("00001-digits", 3, 77)
    assert facts.after(event("exited", code=0)).pid is None


def test_every_kind_is_counted_and_a_second_start_is_a_restart() -> None:
    facts = after(*[event("started", pid=1)] * 3, event("what nobody knows"))
    assert facts.restarts == 2
    assert facts.counts == {"started": 3, "what nobody knows": 1}
    assert Facts().restarts == 0


def test_the_orphans_of_all_starts_of_the_command_add_up() -> None:
    assert after(event("exited", code=1, orphans=2), event("exited", code=0, orphans=1)).orphans == 3


def test_stored_pairs_add_up_and_the_newest_is_kept() -> None:
    facts = after(
        event("saved", 1, checkpoint=str(name_of(2)), reason="epoch"),
        event("stored", 2, checkpoint=str(name_of(2)), bytes=10, seconds=0.5),
        event("stored", 3, checkpoint=str(name_of(1)), bytes=10, seconds=1.5),
    )
    assert facts.saved is not None
    assert facts.stored is not None
    assert (facts.saved.at, facts.saved.step) == (START + 1, 20)
    assert (facts.stored.at, facts.stored.step, facts.stored.epoch) == (START + 2, 20, 2)
    assert (facts.size, facts.seconds) == (20, 2.0)


def test_the_seconds_of_saves_add_up_and_an_older_versions_event_has_none() -> None:
    told = event("saved", checkpoint=str(name_of(1)), seconds=0.25, reason="epoch")
    untold = event("saved", checkpoint=str(name_of(1)), reason="epoch")
    assert after(told, untold, told).save_seconds == 0.5


def test_a_sudden_loss_costs_an_interval_and_what_it_takes_to_write_and_to_store_a_pair() -> None:
    decided = event("interval", seconds=38.0, cost=0.38)
    saved = event("saved", checkpoint=str(name_of(1)), seconds=1.5, reason="interval")
    stored = event("stored", checkpoint=str(name_of(1)), bytes=10, seconds=0.5)
    assert after(decided).at_risk == 38.0
    assert after(decided, saved, stored).at_risk == 40.0
    assert after(saved, stored).at_risk is None, "epochs may take any time"


def test_what_is_waited_for_is_known_until_it_is_there() -> None:
    waits = event("waiting", text="waiting for the lease")
    assert after(waits).waiting == "waiting for the lease"
    assert not after(waits).found
    assert after(waits, event("lease", run="00001-x", incarnation=2)).waiting is None
    assert after(waits, event("notice-over")).waiting is None
    assert after(waits, event("exit", code=75)).waiting is None
    assert after(event("fresh")).found


def test_what_was_restored_from_the_store_is_stored_and_the_base_of_this_start() -> None:
    restored = event("restored", checkpoint=str(name_of(4)), local=False)
    facts = after(restored)
    assert facts.base == 40
    assert facts.stored is not None
    later = after(restored, event("started", pid=1), event("restored", checkpoint=str(name_of(6)), local=True))
    assert later.base == 40, "a restart after a crash goes on within this start"


def test_a_pair_that_was_restored_from_this_disk_may_not_be_in_the_store() -> None:
    assert after(event("restored", checkpoint=str(name_of(4)), local=True)).stored is None


def test_a_stop_has_an_end() -> None:
    facts = after(event("phase", 1, phase="draining", seconds_left=20.0), event("stopping", 1, "SIGTERM"))
    assert (facts.phase, facts.until, facts.stopping) == ("draining", START + 21, "SIGTERM")
    assert facts.after(event("exit", code=75)).until is None
    assert facts.after(event("phase", phase="flushing", seconds_left=None)).until is None


def test_notices_are_counted_by_kind_and_stand_until_they_are_over() -> None:
    facts = after(
        event("notice", what="rebalance recommendation", seconds=None),
        event("notice", what="spot notice (terminate at 16:19:15 UTC)", seconds=119.0),
    )
    assert facts.notices == {"rebalance": 1, "spot terminate": 1}
    assert facts.notice == "spot notice (terminate at 16:19:15 UTC)"
    assert facts.after(event("notice-over")).notice is None


def test_a_rebalance_recommendation_alone_is_no_notice_that_stands() -> None:
    assert after(event("notice", what="rebalance recommendation", seconds=None)).notice is None


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("spot notice (stop at 16:19:15 UTC)", "spot stop"),
        ("spot notice (hibernate at 16:19:15 UTC)", "spot hibernate"),
        ("scheduled maintenance (system-reboot at 22 Nov 16:17:06 UTC)", "maintenance"),
        ("Auto Scaling is taking this machine away (Terminated)", "autoscaling"),
        ("rank 1 (b.internal): spot notice (stop at 16:19:15 UTC)", "spot stop"),
        ("something new", "other"),
    ],
)
def test_a_kind_is_short_and_has_no_times_in_it(what: str, kind: str) -> None:
    assert notice_kind(what) == kind


def test_the_last_warning_and_the_last_words_are_kept() -> None:
    facts = after(
        event("passed-over", 1, "damaged", warning=True), event("fresh", 2, "beginning"), event("phase", phase="x")
    )
    assert (facts.warning, facts.warned, facts.text) == ("damaged", START + 1, "beginning")


def test_an_exit_ends_it() -> None:
    assert not Facts().ended
    assert after(event("exit", code=0)).ended


def test_artifacts_add_up() -> None:
    stored = event("artifacts-stored", files=2, bytes=10, removed=0)
    assert (after(stored, stored).artifacts, after(stored, stored).artifacts_size) == (4, 20)


@pytest.mark.parametrize(
    ("base", "step", "executed", "share"),
    [(0, 0, 0, None), (0, 50, 50, 1.0), (40, 90, 100, 0.5), (40, 30, 10, 0.0), (0, 60, 50, 1.0)],
)
def test_useful_batches_are_the_share_of_the_batches_that_count(
    base: int, step: int, executed: int, share: float | None
) -> None:
    assert useful_batches(base, step, executed) == share


def test_the_course_of_a_training_is_as_full_as_it_is_known() -> None:
    assert Course(30, 625, 0.08).text(19, 484) == "epoch 20/30, batch 484/625, 65 %, about 9 min left"
    assert Course(30, 625).text(19, 484) == "epoch 20/30, batch 484/625, 65 %"
    assert Course(30).text(19, 484) == "epoch 20/30, batch 484"
    assert Course(30).text(15, 0) == "epoch 16/30, batch 0, 50 %"
    assert Course(None, 625, 0.1).text(19, 484) == "epoch 20, batch 484/625"
    assert Course().text(0, 7) == "epoch 1, batch 7"
    assert Course(30, 625, 0.08).text(30, 0) == "epoch 30/30, 100 %"


def test_the_course_is_what_the_last_report_of_progress_says_and_another_training_has_its_own() -> None:
    reported = event("progress", text="epoch 1", epochs=30, batches=625, batch_seconds=0.5)
    facts = after(event("training-began", epochs=30, batches=None, text="began"), reported)
    assert facts.course == Course(30, 625, 0.5)
    assert facts.text == "began", "what went wrong is not hidden by where it stands"
    assert Facts.from_dict(facts.to_dict()) == facts
    assert facts.after(event("training-began", epochs=2, batches=10)).course == Course(2, 10)


def test_what_a_later_version_added_is_ignored() -> None:
    mark = event("saved", 3, checkpoint=str(name_of(1)), seconds=0.1)
    facts = replace(after(mark), earlier=Earlier(2, 5, 0), course=Course(30, 625))
    assert facts.saved is not None
    written = facts.to_dict()
    for given in (written, written["saved"], written["earlier"], written["course"]):
        given["later"] = 1
    assert Facts.from_dict(written) == facts


def test_the_all_clear_of_one_source_leaves_anothers_notice_standing() -> None:
    aws = event("notice", what="spot notice (stop)", seconds=60.0, source="aws")
    hand = event("notice", what="notice (handed in)", seconds=None, source="hand")
    facts = after(aws, hand, event("notice-over", source="hand"))
    assert (facts.notice, facts.standing) == ("spot notice (stop)", {"aws": "spot notice (stop)"})
    assert facts.after(event("notice-over", source="aws")).notice is None
    early = after(event("notice", what="spot notice (stop)", seconds=60.0), event("notice-over"))
    assert early.notice is None, "events of early versions name no source"


def test_the_machines_that_train_together_are_known_while_they_are_there() -> None:
    first = event("gang-joined", rank=1, host="b", address="10.0.0.2")
    second = event("gang-joined", rank=2, host="c", address="10.0.0.3")
    assert after(first, second).ranks == {"1": "b", "2": "c"}
    assert after(first, second, event("gang-lost", rank=1, host="b")).ranks == {"2": "c"}


def test_a_member_knows_its_own_number_and_where_rank_0_is() -> None:
    joined = event("gang-joined", rank=1, host="", address="10.0.0.1")
    assert after(joined).ranks == {"1": "this machine; rank 0 is at 10.0.0.1"}
    assert after(joined, event("gang-lost", rank=0, host="")).ranks == {}
