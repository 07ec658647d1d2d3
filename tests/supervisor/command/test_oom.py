from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.supervisor.command.oom import MemoryKills


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(
    ("cgroup", "file", "text"),
    [
        ("0::/unit", "sys/fs/cgroup/unit/memory.events", "low 0\noom 3\noom_kill {}\noom_group_kill 0\n"),
        ("0::/hidden", "sys/fs/cgroup/memory.events", "oom_kill {}\n"),
        ("5:cpu:/\n4:memory:/unit", "sys/fs/cgroup/memory/unit/memory.oom_control", "under_oom 0\noom_kill {}\n"),
        ("4:memory:/hidden", "sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\noom_kill {}\n"),
        ("0::/", "proc/vmstat", "nr_free_pages 5\noom_kill {}\n"),
    ],
    ids=["v2", "v2-in-a-container", "v1", "v1-in-a-container", "no-cgroup"],
)
def test_a_kill_counts_from_the_beginning_on(tmp_path: Path, cgroup: str, file: str, text: str) -> None:
    write(tmp_path, "proc/self/cgroup", f"{cgroup}\n")
    write(tmp_path, file, text.format(2))
    kills = MemoryKills(tmp_path)
    assert not kills.happened(), "what was before"
    write(tmp_path, file, text.format(3))
    assert kills.happened()


def test_the_kills_of_others_do_not_count_where_the_cgroup_has_its_own(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/unit\n")
    write(tmp_path, "sys/fs/cgroup/unit/memory.events", "oom_kill 0\n")
    write(tmp_path, "proc/vmstat", "oom_kill 0\n")
    kills = MemoryKills(tmp_path)
    write(tmp_path, "proc/vmstat", "oom_kill 1\n")
    assert not kills.happened()


def test_a_machine_that_counts_nothing_had_no_kill(tmp_path: Path) -> None:
    assert not MemoryKills(tmp_path).happened()
