"""Which library a process has loaded, seen from outside. A file of TensorFlow's name stands for TensorFlow."""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from holdfast.auto.environment import FOLDER
from holdfast.core.wire import SOCKET_VARIABLE
from holdfast.supervisor.command.isolation import image_mark
from holdfast.supervisor.command.tensorflow_watch import TensorFlowWatch

LIBRARY = "libtensorflow_of_a_test.so.2"


def myself() -> list[psutil.Process]:
    return [psutil.Process()]


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[None]:
    library = tmp_path / LIBRARY
    library.write_bytes(bytes(mmap.PAGESIZE))
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        yield


def test_a_library_that_a_process_has_mapped_is_seen(loaded: None) -> None:
    watch = TensorFlowWatch()
    watch.look(0.0, myself)
    assert watch.seen
    assert watch.seen_for(60.0) == 60.0
    watch.look(100.0, lambda: pytest.fail("it is known"))


@pytest.mark.parametrize(
    ("path", "words"),
    [("{hook}", ""), ("src", "has lost what --auto put on PYTHONPATH"), ("mine:{hook}", "another one hides it")],
    ids=["with the hook", "without it", "behind another one"],
)
def test_what_a_process_executes_and_all_that_it_forks_is_reached_if_it_found_the_hook(
    path: str, words: str, loaded: None, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/sitecustomize.py").write_text("")
    code = f"import mmap, os; os.fork() and os._exit(0 * os.wait()[0]); file = open({LIBRARY!r}, 'rb'); "
    code += "library = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); print(os.getpid(), flush=True); input()"
    environment = {SOCKET_VARIABLE: str(tmp_path / "s"), "PYTHONPATH": path.format(hook=FOLDER)}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        fork = psutil.Process(int(process.stdout.readline()))
        watch = TensorFlowWatch(str(FOLDER), tmp_path)
        watch.look(0.0, lambda: [fork])
        assert watch.unreached == "", "it may be a helper, which is over soon"
        watch.look(20.0, lambda: [fork])
        process.communicate(b"\n")
    assert watch.seen
    assert words in watch.unreached
    assert bool(watch.unreached) is bool(words)


def test_a_worker_beside_a_process_that_is_reached_may_have_another_environment(loaded: None, tmp_path: Path) -> None:
    (tmp_path / image_mark(Path("/proc/self/auxv").read_bytes())).touch()
    watch = TensorFlowWatch("a hook", tmp_path)
    for now in (0.0, 20.0, 40.0):
        watch.look(now, lambda: [*myself(), *myself()])
        assert watch.unreached == ""


def test_a_helper_that_is_over_soon_does_not_count_and_what_comes_after_it_does(loaded: None, tmp_path: Path) -> None:
    watch = TensorFlowWatch("a hook", tmp_path)
    watch.look(0.0, myself)
    watch.look(10.0, list)
    for now in (20.0, 30.0):
        watch.look(now, myself)
        assert watch.unreached == ""
    watch.look(40.0, myself)
    assert "has lost what --auto put on PYTHONPATH" in watch.unreached


@pytest.mark.parametrize("library", ["jaxlib/_jax.so", "torch/libtorch_cpu.so"])
@pytest.mark.parametrize("of_keras", [False, True], ids=["alone", "with Keras"])
def test_jax_and_pytorch_count_with_keras_and_under_auto_alone_too(
    library: str, of_keras: bool, tmp_path: Path
) -> None:
    """Keras has no library of its own, and imports those of two packages."""
    libraries = [library, *(["h5py/defs.so", "optree/_C.so"] if of_keras else ["h5py/defs.so"])]
    for one in libraries:
        (tmp_path / one).parent.mkdir()
        (tmp_path / one).write_bytes(bytes(mmap.PAGESIZE))
    code = f"import mmap; files = [open(one, 'rb') for one in {libraries!r}]; "
    code += "maps = [mmap.mmap(one.fileno(), 0, access=mmap.ACCESS_READ) for one in files]; print(flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for hook in ("", "a hook"):
            watch = TensorFlowWatch(hook, tmp_path)
            watch.look(0.0, lambda: [psutil.Process(process.pid)])
            watch.look(20.0, lambda: [psutil.Process(process.pid)])
            assert watch.seen is (bool(hook) or of_keras)
            assert bool(watch.unreached) is bool(hook)
        process.communicate(b"\n")


def test_it_is_looked_for_now_and_then_until_it_no_longer_matters() -> None:
    looks: list[float] = []
    watch = TensorFlowWatch()
    for tenth in range(100):
        watch.look(tenth / 10, lambda now=tenth / 10: looks.append(now) or [])  # type: ignore[misc]
    assert looks == [0.0, 2.0, 4.0, 6.0, 8.0]
    watch.over = True
    watch.look(100.0, lambda: pytest.fail("it trains"))


def test_a_process_that_is_gone_has_loaded_nothing() -> None:
    class Gone:
        pid = 2**22 + 1  # more than the kernel gives

    watch = TensorFlowWatch()
    watch.look(0.0, lambda: [Gone()])  # type: ignore[list-item]
    assert not watch.seen
    assert watch.seen_for(100.0) < 0
