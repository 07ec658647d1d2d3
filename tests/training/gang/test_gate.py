from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import HoldfastError
from holdfast.core.gang.agreement import Agreement
from holdfast.core.gang.messages import ActAt
from holdfast.spool import Spool
from holdfast.spool.gang_board import SAVE, STOP, GangBoard
from holdfast.supervisor.gang.standing import Stand
from holdfast.training.gang.gate import Gate

PATIENCE = 20.0


@pytest.fixture
def board(tmp_path: Path) -> GangBoard:
    return GangBoard(tmp_path / "gang")


def test_while_nothing_is_asked_each_boundary_is_passed_and_counted(board: GangBoard) -> None:
    gate = Gate(board)
    assert [gate.arrive() for _ in range(3)] == [0, 0, 0]
    assert board.passed == 3


def test_a_process_that_opens_the_gate_later_counts_on(board: GangBoard) -> None:
    Gate(board).arrive()
    Gate(board).arrive()
    assert board.passed == 2


def test_a_rank_that_is_asked_waits_at_its_next_boundary_and_acts_at_the_agreed_one(board: GangBoard) -> None:
    gate = Gate(board)
    gate.arrive()
    board.ask(1)
    with arriving(gate) as (arrive, answers):
        wait_until(lambda: board.held == 2)
        assert board.passed == 1, "it has not passed the one that it waits at"
        board.act_at(3, STOP)
        assert answers(1) == [0], "this one is not it"
        arrive()
        assert answers(2) == [0, STOP]


def test_after_a_save_the_training_goes_through_the_gate_as_before(board: GangBoard) -> None:
    gate = Gate(board)
    board.ask(1)
    board.act_at(1, SAVE)
    assert gate.arrive() == SAVE
    assert [gate.arrive(), gate.arrive()] == [0, 0]
    board.ask(2)
    board.act_at(5, SAVE)
    assert [gate.arrive(), gate.arrive()] == [0, SAVE]


def test_a_stop_takes_the_place_of_a_save_that_is_a_long_step_away(board: GangBoard) -> None:
    gate = Gate(board)
    board.ask(1)
    board.act_at(9, SAVE)
    assert gate.arrive() == 0
    board.ask(2)
    board.act_at(2, STOP)
    assert gate.arrive() == STOP


def test_a_save_that_other_ranks_have_done_is_done_before_the_stop(board: GangBoard) -> None:
    gate = Gate(board)
    board.ask(2)
    board.act_at(3, STOP, save_at=2)
    assert [gate.arrive(), gate.arrive(), gate.arrive()] == [0, SAVE, STOP]


def test_a_boundary_that_is_over_is_never_acted_at(board: GangBoard) -> None:
    gate = Gate(board)
    gate.arrive()
    board.ask(1)
    board.act_at(1, STOP)
    with pytest.raises(HoldfastError, match="boundary 1"):
        gate.arrive()


@settings(max_examples=15, deadline=None)
@given(ranks=st.integers(2, 4), after=st.integers(0, 40), between=st.integers(0, 3))
def test_ranks_in_lock_step_all_do_the_same_at_the_same_boundaries_whenever_they_are_asked(
    tmp_path_factory: pytest.TempPathFactory, ranks: int, after: int, between: int
) -> None:
    """Each step ends when all ranks have begun it, as a collective operation does. A stop soon follows a save."""
    folder = tmp_path_factory.mktemp("gang")
    spools = [Spool(folder / f"0000{rank}-rank") for rank in range(ranks)]
    boards = [GangBoard(spool.file(GangBoard.FILE)) for spool in spools]
    stands = [Stand(spool) for spool in spools]
    barrier, asked = threading.Barrier(ranks), threading.Event()
    acted: list[list[tuple[int, int]]] = [[] for _ in range(ranks)]

    def train(rank: int) -> None:
        gate, boundary = Gate(boards[rank]), 0
        while True:
            boundary += 1
            action = gate.arrive()
            if action:
                acted[rank].append((boundary, action))
            if action == STOP:
                return
            if boundary == after + 1:
                asked.set()
            barrier.wait(PATIENCE)

    def agree(number: int, action: int) -> ActAt:
        agreement = Agreement(number, action, "", frozenset(range(ranks)))
        with ThreadPoolExecutor(ranks) as pool:
            for rank, standing in enumerate(pool.map(lambda stand: stand.ask(number, stand.start), stands)):
                assert standing is not None
                agreement = agreement.answered(rank, standing)
        assert agreement.target is not None
        return ActAt(number, agreement.target, action, "", agreement.save_at)

    threads = [threading.Thread(target=train, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    assert asked.wait(PATIENCE)
    save = agree(1, SAVE)
    for stand in stands:
        stand.act_at(save)
    reached = min(board.passed for board in boards) + between
    wait_until(lambda: max(board.passed for board in boards) >= reached)
    stop = agree(2, STOP)
    for stand in stands:
        stand.act_at(stop)
    for thread in threads:
        thread.join(PATIENCE)
    assert acted[0][-1] == (stop.target, STOP)
    assert acted[0][:-1] in ([], [(save.target, SAVE)])
    assert all(one == acted[0] for one in acted)


class arriving:  # noqa: N801
    """The training's thread: it arrives once, and again whenever it is asked to."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._answers: list[int] = []
        self._answered = threading.Condition()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> tuple[Callable[[], None], Callable[[int], list[int]]]:
        self._arrive()
        return self._arrive, self._first

    def __exit__(self, *exception: object) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _arrive(self) -> None:
        self._threads.append(threading.Thread(target=self._work))
        self._threads[-1].start()

    def _work(self) -> None:
        answer = self._gate.arrive()
        with self._answered:
            self._answers.append(answer)
            self._answered.notify_all()

    def _first(self, number: int) -> list[int]:
        with self._answered:
            assert self._answered.wait_for(lambda: len(self._answers) >= number, PATIENCE)
            return list(self._answers)


def wait_until(condition: Callable[[], bool]) -> None:
    seen, end = threading.Event(), PATIENCE
    while not condition():
        end -= 0.01
        assert end > 0
        seen.wait(0.01)
