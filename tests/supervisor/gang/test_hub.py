from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core import wire
from holdfast.core.errors import Cancelled, Exit, RanksMissing
from holdfast.core.gang import messages as says
from holdfast.core.machine.events import ChildExited, GangBroken, NoticeStands
from holdfast.spool import Spool
from holdfast.spool.gang_board import STOP, GangBoard

from .members import PATIENCE, PlayedGang, PlayedMember, in_thread, wait_until


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "00001-a")


@pytest.fixture
def gang(spool: Spool) -> Iterator[PlayedGang]:
    with contextlib.closing(PlayedGang(2, spool)) as found:
        yield found


@pytest.fixture
def three(spool: Spool) -> Iterator[PlayedGang]:
    with contextlib.closing(PlayedGang(3, spool)) as found:
        yield found


# --- joining


def test_a_stranger_without_the_leases_key_is_hung_up_on(gang: PlayedGang) -> None:
    assert PlayedMember(gang.hub, 1, key="guessed").is_hung_up_on()


@pytest.mark.parametrize(("rank", "why"), [(0, "no rank 0"), (2, "no rank 2"), (-7, "no rank -7")])
def test_a_rank_that_the_gang_does_not_have_is_told_so(gang: PlayedGang, rank: int, why: str) -> None:
    assert why in PlayedMember(gang.hub, rank).next(says.NotJoined).why


def test_a_rank_that_is_there_is_not_let_in_twice_and_is_once_it_is_gone(gang: PlayedGang) -> None:
    first = PlayedMember(gang.hub, 1)
    first.next(says.Joined)
    assert "host-1" in PlayedMember(gang.hub, 1).next(says.NotJoined).why
    first.link.close()
    while isinstance(answer := PlayedMember(gang.hub, 1).answer(), says.NotJoined):
        pass
    assert isinstance(answer, says.Joined)
    assert (answer.rank, answer.ranks) == (1, 2)


def test_machines_that_know_no_rank_get_the_free_ones(three: PlayedGang) -> None:
    numbers = {PlayedMember(three.hub, -1).next(says.Joined).rank for _ in range(2)}
    assert numbers == {1, 2}
    assert "all 3" in PlayedMember(three.hub, -1).next(says.NotJoined).why


# --- a round


def test_commands_start_when_the_last_rank_is_ready_and_each_gets_the_address_of_rank_0(three: PlayedGang) -> None:
    gathering = in_thread(three.gathers)
    members = [PlayedMember(three.hub, rank) for rank in (1, 2)]
    for member in members:
        member.next(says.Joined)
        member.says(says.ReadyToStart(member.next(says.Prepare).round, 4711))
    gathering.join(PATIENCE)
    own = three.hub.begins()
    environments = [own, *(member.next(says.Go).environment for member in members)]
    assert [one["JAX_PROCESS_ID"] for one in environments] == ["0", "1", "2"]
    assert len({one["JAX_COORDINATOR_ADDRESS"] for one in environments}) == 1
    assert json.loads(environments[2]["TF_CONFIG"])["task"] == {"type": "worker", "index": 2}


def test_a_gang_waits_for_its_ranks_no_longer_than_it_may(gang: PlayedGang) -> None:
    with pytest.raises(RanksMissing, match=r"rank 1 of 2 did not come within --lease-wait 0 s"):
        gang.gathers(wait=0.0)


def test_a_rank_that_is_there_and_cannot_get_ready_is_waited_for_no_longer_either(gang: PlayedGang) -> None:
    failures: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def gathers() -> None:
        try:
            gang.gathers(wait=0.5)
        except RanksMissing as failed:
            failures.put(failed)

    gathering = in_thread(gathers)
    member = PlayedMember(gang.hub, 1)
    member.next(says.Joined)
    member.says(says.ReadyToStart(member.next(says.Prepare).round, 0, "the store is away"))
    assert str(failures.get(timeout=PATIENCE)) == "rank 1 (host-1): the store is away (--lease-wait 0 s is over)"
    gathering.join(PATIENCE)


def test_a_stop_ends_the_waiting_for_ranks(gang: PlayedGang) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        gang.gathers(cancelled=cancelled)


def test_a_rank_that_is_lost_while_it_gets_ready_is_waited_for_again(gang: PlayedGang) -> None:
    gathering = in_thread(gang.gathers)
    first = PlayedMember(gang.hub, 1)
    first.next(says.Joined)
    first.next(says.Prepare)
    first.link.close()
    while not isinstance((second := PlayedMember(gang.hub, 1)).answer(), says.Joined):
        pass
    second.says(says.ReadyToStart(second.next(says.Prepare).round, 4711))
    gathering.join(PATIENCE)
    assert not gathering.is_alive()


# --- acting together


def test_a_stop_is_at_the_first_boundary_that_no_rank_has_passed(gang: PlayedGang, spool: Spool) -> None:
    gang.begins()
    board = GangBoard(spool.file(GangBoard.FILE))
    board.passed = 7  # in the middle of a step
    gang.hub.ask(wire.Stop("SIGTERM"))
    number = gang.members[0].next(says.Ask).number
    gang.members[0].says(says.Stands(number, 6, held=True, owes=0))
    assert gang.members[0].next(says.ActAt) == says.ActAt(number, 8, STOP, "SIGTERM", 0)
    assert gang.message() == wire.Stop("SIGTERM")
    assert (board.target, board.action) == (8, STOP)


def test_a_notice_at_a_member_is_one_of_the_gang(gang: PlayedGang) -> None:
    gang.begins()
    gang.members[0].says(says.MachineStops("spot notice", 90.0))
    notice = gang.event()
    assert isinstance(notice, NoticeStands)
    assert (notice.what, notice.seconds) == ("rank 1 (host-1): spot notice", 90.0)


def test_what_only_a_member_knows_reaches_rank_0s_process_and_the_pairs_name_the_members(gang: PlayedGang) -> None:
    gang.begins()
    state = wire.RankState(1, 17, "aGVsbG8=")
    gang.members[0].says(state)
    assert gang.message() == state
    gang.hub.heard(0, wire.PairSaved("model-0001-00000017-0.5000-i1-q1", "epoch", 0.1))
    assert gang.members[0].next(wire.PairWritten).step == 17


def test_the_commands_leave_together_and_rank_0s_last(three: PlayedGang) -> None:
    three.begins()
    three.hub.heard(1, wire.Leaving(True))
    three.hub.heard(0, wire.Leaving(True))
    for member in three.members:
        member.next(says.Leave)
    three.ends(1, Exit.STOPPED)
    assert three.to_process.empty(), "rank 2 may still need it"
    three.ends(2, Exit.STOPPED)
    assert three.message() == wire.MayLeave()
    three.hub.own_ended(ChildExited(Exit.STOPPED))
    assert three.event() == ChildExited(Exit.STOPPED)


# --- the ends


def test_the_command_has_ended_when_it_has_on_all_ranks(three: PlayedGang) -> None:
    three.begins()
    three.hub.own_ended(ChildExited(0))
    three.ends(1)
    assert three.events.empty()
    three.ends(2)
    assert three.event() == ChildExited(0)


def test_a_failure_of_one_rank_is_that_of_all_and_ends_the_others(three: PlayedGang) -> None:
    three.begins()
    three.ends(2, 1, "exit 1")
    assert three.members[0].next(says.End).at_once
    assert three.event() == GangBroken("rank 2: exit 1")
    three.ends(1, 137, "killed by SIGKILL")
    three.hub.own_ended(ChildExited(137, how="killed by SIGKILL"))
    event = three.event()
    assert isinstance(event, ChildExited)
    assert (event.code, event.how, event.lost) == (1, "rank 2: exit 1", "")


def test_a_failure_that_a_member_of_another_version_describes_otherwise_has_no_details(gang: PlayedGang) -> None:
    gang.begins()
    gang.members[0].says(says.CommandEnded(gang.rounds[0], 1, "exit 1", {"class": "ValueError", "trace": ["a", "b"]}))
    assert isinstance(gang.event(), GangBroken)
    gang.hub.own_ended(ChildExited(137))
    event = gang.event()
    assert isinstance(event, ChildExited)
    assert (event.code, event.failure) == (1, None)


def test_a_machine_that_is_lost_is_an_interruption_whatever_the_others_commands_died_of(three: PlayedGang) -> None:
    three.begins()
    three.members[1].link.close()
    assert three.members[0].next(says.End).at_once
    assert isinstance(three.event(), GangBroken)
    three.ends(1, 1, "exit 1")
    three.hub.own_ended(ChildExited(134, how="killed by SIGABRT"))
    event = three.event()
    assert isinstance(event, ChildExited)
    assert "rank 2: its machine is lost (host-2)" in event.lost


def test_a_command_that_ended_on_some_ranks_and_was_stopped_on_others_is_not_complete(gang: PlayedGang) -> None:
    gang.begins()
    gang.ends(1, Exit.STOPPED)
    gang.hub.own_ended(ChildExited(0))
    event = gang.event()
    assert isinstance(event, ChildExited)
    assert event.code == Exit.STOPPED


def test_a_machine_that_is_lost_after_its_training_takes_nothing_along(gang: PlayedGang) -> None:
    gang.begins()
    gang.members[0].says(wire.TrainingFinished())
    gang.members[0].link.close()
    wait_until(lambda: any("gang-lost" in one for one in gang.told))
    gang.hub.own_ended(ChildExited(0))
    assert gang.event() == ChildExited(0)


def test_a_rank_that_trains_on_after_the_others_have_ended_is_ended_and_one_that_evaluates_is_not(
    spool: Spool,
) -> None:
    with contextlib.closing(PlayedGang(3, spool, lag=0.2)) as gang:
        gang.begins()
        gang.members[0].says(wire.TrainingBegan(3))
        gang.members[0].says(wire.TrainingFinished())
        gang.members[1].says(wire.TrainingBegan(3))
        for rank in (1, 2):
            gang.members[rank - 1].says(wire.RankState(rank, 7, ""))  # all before it is heard
            gang.message()
        gang.hub.own_ended(ChildExited(0))
        gang.members[1].next(says.End)
        (late,) = [one for one in gang.told if "gang-late" in one]
        assert "rank 2 still trains" in late


def test_what_a_member_says_of_an_earlier_start_counts_for_nothing(gang: PlayedGang) -> None:
    gang.begins()
    gang.ends(1, 1, "exit 1")
    assert isinstance(gang.event(), GangBroken)
    gang.hub.own_ended(ChildExited(137))
    assert isinstance(gang.event(), ChildExited)
    earlier = gang.rounds[0]
    gang.begins_again()
    gang.members[0].says(says.CommandEnded(earlier, 1, "exit 1", {}))
    gang.ends(1)
    gang.hub.own_ended(ChildExited(0))
    assert gang.event() == ChildExited(0)


def test_all_supervisors_learn_how_the_gang_ends(gang: PlayedGang) -> None:
    gang.begins()
    gang.hub.bye(Exit.STOPPED, "SIGTERM")
    assert gang.members[0].next(says.Bye) == says.Bye(75, "SIGTERM")


# --- what a reader of the code found: each once went wrong


def test_a_rank_that_joins_between_two_rounds_gets_no_order_of_the_last_one(gang: PlayedGang) -> None:
    gang.begins()
    gang.ends(1, 1, "exit 1")
    assert isinstance(gang.event(), GangBroken)
    gang.hub.own_ended(ChildExited(137))
    assert isinstance(gang.event(), ChildExited)
    gang.members[0].link.close()
    while not isinstance((late := PlayedMember(gang.hub, 1)).answer(), says.Joined):
        pass
    gang.members = [late]
    gang.begins_again()
    assert gang.rounds == [2], "the first order that it got was the second round's"


def test_a_rank_that_is_lost_just_before_the_commands_start_breaks_the_gang_and_all_of_it_ends(
    three: PlayedGang,
) -> None:
    gathering = in_thread(three.gathers)
    members = [PlayedMember(three.hub, rank) for rank in (1, 2)]
    for member in members:
        member.next(says.Joined)
        member.says(says.ReadyToStart(member.next(says.Prepare).round, 4711))
    gathering.join(PATIENCE)
    members[0].link.close()
    wait_until(lambda: any("gang-lost" in one for one in three.told))
    three.hub.begins()
    assert isinstance(three.event(), GangBroken)
    three.members, three.rounds = [members[0], members[1]], [1, members[1].next(says.Go).round]
    three.ends(2, 137)
    three.hub.own_ended(ChildExited(137))
    event = three.event()
    assert isinstance(event, ChildExited)
    assert "rank 1" in event.lost


def test_a_machine_that_vanishes_once_all_know_where_they_stop_does_not_take_the_state_along(
    gang: PlayedGang,
) -> None:
    """Rank 0 has all that it needs, or will soon know that it has not."""
    gang.begins()
    gang.hub.ask(wire.Stop("spot notice"))
    number = gang.members[0].next(says.Ask).number
    gang.members[0].says(says.Stands(number, 0, held=False, owes=0))
    gang.members[0].next(says.ActAt)
    assert gang.message() == wire.Stop("spot notice")
    gang.members[0].link.close()
    assert gang.message() == wire.MayLeave(), "nobody is left that needs rank 0"
    gang.hub.own_ended(ChildExited(Exit.STOPPED))
    assert gang.event() == ChildExited(Exit.STOPPED), "the state is stored"


def test_the_others_do_not_wait_for_a_process_of_rank_0_that_died_in_a_stop(gang: PlayedGang) -> None:
    gang.begins()
    gang.hub.ask(wire.Stop("spot notice"))
    number = gang.members[0].next(says.Ask).number
    gang.members[0].says(says.Stands(number, 0, held=False, owes=0))
    gang.members[0].next(says.ActAt)
    gang.hub.own_ended(ChildExited(137, how="killed by SIGKILL"))
    assert not gang.members[0].next(wire.PairWritten).name
    gang.members[0].next(says.Leave)
    gang.ends(1, Exit.UNSTORED)
    event = gang.event()
    assert isinstance(event, ChildExited)
    assert event.code == 137


def test_a_stop_takes_the_place_of_a_save_that_is_being_agreed_on(gang: PlayedGang, spool: Spool) -> None:
    gang.begins()
    gang.hub.ask(wire.Save("interval"))
    number = gang.members[0].next(says.Ask).number
    gang.hub.ask(wire.Stop("SIGTERM"))
    gang.members[0].says(says.Stands(number, 4, held=True, owes=0))
    order = gang.members[0].next(says.ActAt)
    assert (order.number, order.action, order.reason) == (number, STOP, "SIGTERM")


def test_a_save_that_only_some_ranks_have_done_is_done_by_the_others_before_all_stop(
    gang: PlayedGang, spool: Spool
) -> None:
    """Rank 1 saved at boundary 5; rank 0 is in a long step before it."""
    gang.begins()
    board = GangBoard(spool.file(GangBoard.FILE))
    board.passed = 4
    gang.hub.ask(wire.Save("interval"))
    gang.members[0].says(says.Stands(gang.members[0].next(says.Ask).number, 4, held=False, owes=0))
    assert gang.members[0].next(says.ActAt).target == 5
    assert isinstance(gang.message(), wire.Save)
    gang.hub.ask(wire.Stop("SIGTERM"))
    gang.members[0].says(says.Stands(gang.members[0].next(says.Ask).number, 5, held=False, owes=0))
    order = gang.members[0].next(says.ActAt)
    assert (order.target, order.action, order.save_at) == (6, STOP, 5)
    assert isinstance(gang.message(), wire.Stop)
    wait_until(lambda: board.target == 6)
    assert board.save_at == 5


def test_an_order_to_get_ready_that_is_answered_late_counts_for_no_later_one(gang: PlayedGang) -> None:
    gang.begins()
    gang.ends(1, 1, "exit 1")
    assert isinstance(gang.event(), GangBroken)
    gang.hub.own_ended(ChildExited(137))
    assert isinstance(gang.event(), ChildExited)
    gathering = in_thread(gang.gathers)
    number = gang.members[0].next(says.Prepare).round
    gang.members[0].says(says.ReadyToStart(number, 4711))
    gang.members[0].says(says.ReadyToStart(number - 1, 4711))
    gathering.join(PATIENCE)
    assert not gathering.is_alive()


def test_a_rank_that_hangs_is_ended_by_the_stall_timeout_and_named(spool: Spool) -> None:
    with contextlib.closing(PlayedGang(2, spool, stall_timeout=2.0)) as gang:
        gang.begins()
        GangBoard(spool.file(GangBoard.FILE)).passed = 7
        gang.members[0].passed = 6
        event = gang.event()
        assert isinstance(event, GangBroken)
        assert "rank 1 is behind the others" in event.text
        assert "--stall-timeout" in event.text


def test_who_connects_and_says_nothing_keeps_no_member_out(gang: PlayedGang) -> None:
    port = gang.hub.announcement["port"]
    with contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
        assert isinstance(PlayedMember(gang.hub, 1).answer(), says.Joined)
