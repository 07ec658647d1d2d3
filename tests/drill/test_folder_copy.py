"""What each machine of a drill begins with."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from holdfast.drill.folder_copy import Deployment, missing, remove


def deployed(
    folder: Path, command: Sequence[str] = ("python", "train.py"), most: int = 1 << 20, exclude: Path | None = None
) -> Deployment:
    found = Deployment(folder, command, lambda: None, most, exclude)
    found.keep(folder.parent / "kept")
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "above" / "project"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text("print(1)\n")
    (folder / "package").mkdir()
    (folder / "package" / "model.py").write_text("layers = 3\n")
    return folder


def test_a_machine_gets_a_copy_at_which_it_can_write_without_touching_the_folder(project: Path, tmp_path: Path) -> None:
    here = deployed(project).install(tmp_path / "machine")
    assert here == tmp_path / "machine" / project.relative_to("/")
    (here / "train.py").write_text("changed")
    (here / "package" / "model.py").unlink()
    assert (project / "train.py").read_text() == "print(1)\n"
    assert (project / "package" / "model.py").exists()


def test_the_next_machine_has_nothing_of_what_the_first_one_wrote(project: Path, tmp_path: Path) -> None:
    deployment = deployed(project)
    here = deployment.install(tmp_path / "machine")
    (here / "best.keras").write_text("weights")
    (here / "train.py").write_text("changed")
    remove(tmp_path / "machine")
    here = deployment.install(tmp_path / "machine")
    assert sorted(path.name for path in here.iterdir()) == ["package", "train.py"]
    assert (here / "train.py").read_text() == "print(1)\n"


def test_what_is_edited_during_a_drill_takes_no_part_in_it_and_is_named(project: Path, tmp_path: Path) -> None:
    deployment = deployed(project)
    assert deployment.changed_at_home() == []
    (project / "train.py").write_text("print(22)\n")
    (project / "package" / "notes.txt").write_text("new")
    assert (deployment.install(tmp_path / "machine") / "train.py").read_text() == "print(1)\n"
    assert deployment.changed_at_home() == ["package/notes.txt", "train.py"]


def test_what_the_command_wrote_is_told_by_its_path(project: Path, tmp_path: Path) -> None:
    deployment = deployed(project)
    here = deployment.install(tmp_path / "machine")
    assert deployment.written(tmp_path / "machine") == {}
    (here / "package" / "best.keras").write_text("weights")
    (here / "train.py").write_text("changed")
    (here.parent / "outputs").mkdir()
    (here.parent / "outputs" / "log.csv").write_text("1")
    (here / "__pycache__").mkdir()
    (here / "__pycache__" / "x.pyc").write_text("")
    names = deployment.written(tmp_path / "machine")
    assert list(names) == ["../outputs/log.csv", "package/best.keras", "train.py"]
    assert missing(names, project) == ["../outputs/log.csv", "package/best.keras"]


def test_large_files_environments_and_repositories_are_linked(project: Path, tmp_path: Path) -> None:
    (project / "data.bin").write_bytes(bytes(600))
    for folder, file in ((".git", "HEAD"), ("env", "pyvenv.cfg")):
        (project / folder).mkdir()
        (project / folder / file).write_text("x")
    deployment = deployed(project, most=2000)
    here = deployment.install(tmp_path / "machine")
    assert {path.name for path in deployment.linked} == {"data.bin", "env"}, "nobody trains into .git"
    assert (here / "data.bin").resolve() == project / "data.bin"
    assert (here / ".git" / "HEAD").read_text() == "x"
    assert not (here / "train.py").is_symlink()
    assert deployment.environment_in(tmp_path / "machine")["UV_NO_SYNC"] == "1"


def test_what_is_near_the_top_is_copied_before_what_lies_deep(project: Path, tmp_path: Path) -> None:
    deep = project / "data" / "images"
    deep.mkdir(parents=True)
    for number in range(8):
        (deep / f"{number}.png").write_bytes(bytes(200))
    for number in range(4):
        (project / f"{number}.csv").write_bytes(bytes(240))
    deployment = deployed(project, most=1000)
    here = deployment.install(tmp_path / "machine")
    assert deployment.size <= 1000
    assert not (here / "0.csv").is_symlink()
    assert (here / "data" / "images" / "7.png").resolve() == deep / "7.png"
    assert (here / "data" / "images" / "7.png").stat().st_size == 200


@pytest.mark.whole
def test_a_folder_of_very_many_files_is_linked_as_one(project: Path, tmp_path: Path) -> None:
    many = project / "many"
    many.mkdir()
    for number in range(10_001):
        (many / str(number)).touch()
    deployment = deployed(project)
    assert deployment.linked == [many]
    assert (deployment.install(tmp_path / "machine") / "many").is_symlink()


def test_links_into_the_folder_lead_into_the_copy_and_others_to_where_they_led(project: Path, tmp_path: Path) -> None:
    (project.parent / "far.txt").write_text("far")
    (project / "near").symlink_to("train.py")
    (project / "near_absolute").symlink_to(project / "package")
    (project / "far").symlink_to("../far.txt")
    (project / "nowhere").symlink_to("not/there")
    here = deployed(project).install(tmp_path / "machine")
    assert (here / "near").resolve() == here / "train.py"
    assert (here / "near_absolute").resolve() == here / "package"
    assert (here / "far").resolve() == project.parent / "far.txt"
    assert os.readlink(here / "nowhere") == "not/there"


def test_the_folders_beside_and_above_are_found(project: Path, tmp_path: Path) -> None:
    (project.parent / "data").mkdir()
    (project.parent / "data" / "x.csv").write_text("1,2")
    here = deployed(project).install(tmp_path / "machine")
    assert (here / ".." / "data" / "x.csv").read_text() == "1,2"


def test_a_script_from_another_folder_runs_from_a_copy_of_that(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = (sys.executable, str(project / "train.py"), "--data", str(project / "package"), "--rate", "/3")
    deployment = deployed(elsewhere, command)
    here = deployment.install(tmp_path / "machine")
    copy = tmp_path / "machine" / project.relative_to("/")
    assert deployment.command_in(tmp_path / "machine") == [
        *(sys.executable, str(copy / "train.py")),
        *("--data", str(copy / "package"), "--rate", "/3"),
    ]
    assert here == tmp_path / "machine" / elsewhere.relative_to("/")
    (copy / "beside_the_script.txt").write_text("x")
    assert list(deployment.written(tmp_path / "machine")) == ["../above/project/beside_the_script.txt"]


def test_write_protected_folders_are_copied_so_and_go_away(project: Path, tmp_path: Path) -> None:
    (project / "package" / "model.py").chmod(0o400)
    (project / "package").chmod(0o500)
    here = deployed(project).install(tmp_path / "machine")
    assert (here / "package").stat().st_mode & 0o777 == 0o500
    assert (here / "package" / "model.py").stat().st_mode & 0o777 == 0o400
    remove(tmp_path / "machine")
    assert not (tmp_path / "machine").exists()
    (project / "package").chmod(0o700)


def test_a_pipe_is_linked_and_not_read(project: Path, tmp_path: Path) -> None:
    os.mkfifo(project / "pipe")
    assert (deployed(project).install(tmp_path / "machine") / "pipe").is_symlink()


def test_the_drills_own_folder_inside_of_the_project_is_left_out(project: Path) -> None:
    own = project / "tmp" / "drill"
    own.mkdir(parents=True)
    deployment = Deployment(project, ["python"], lambda: None, exclude=own)
    deployment.keep(own / "kept")
    assert list((own / "kept" / project.relative_to("/") / "tmp").iterdir()) == []
    assert deployment.changed_at_home() == []
