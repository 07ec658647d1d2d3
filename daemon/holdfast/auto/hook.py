"""Waits for Keras in a Python process of a command, and wraps its ``fit``: under ``--auto`` to make it resumable, else
to say of the first one that nothing of it is saved, if the process has not imported holdfast by then.

Every interpreter of the command runs this as it starts. So it imports nothing that is not loaded yet, it is written for
Python 3.7 and later, and what costs more (protect.py) is loaded by the first ``fit``.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing is not loaded for it
    from collections.abc import Callable
    from typing import Any, NoReturn

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST_PYTHON = (3, 10)
SOCKET_VARIABLE = "HOLDFAST_SOCKET"
LOOK_VARIABLE = "HOLDFAST_LOOK"  # the file for what a fit says of itself, instead of training (holdfast doctor)
WARN_VARIABLE = "HOLDFAST_ONLY_WARN"  # set without --auto
STANDBY_VARIABLE = "HOLDFAST_STANDS_BY"  # what to import before the script begins (core/preload.py)
# As in core/preload.py: packages that take long to import, and variables that they read and that hold no secret.
PACKAGES = ("numpy", "scipy", "h5py", "pandas", "sklearn", "tensorflow", "tf_keras", "keras", "jax", "torch")
VARIABLES = (
    *("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC"),
    *("TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR", "TF_USE_LEGACY_KERAS", "TF_NUM_INTEROP_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "KERAS_BACKEND", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "XLA_FLAGS"),
    *("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION", "JAX_PLATFORMS", "JAX_ENABLE_X64"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "PYTHONHASHSEED"),
)
_PATCHERS = ("gevent", "eventlet", "comet_ml")  # they change what is imported after them
PYTHON_SEEN, KERAS_SEEN = "python", "keras"
_USAGE = 78
_PATIENCE = 2.0
_UNPROTECTED = (
    "this command trains a Keras model without a holdfast session: nothing of it is saved, and a stop loses all of it. "
)
_DETECTION = "holdfast.training.session.detect_unprotected"
_SERVED = ("tensorflow", "jax", "torch", "tf_keras")  # as in protect.py
_REMEDY = "Add holdfast.Resume() to the callbacks of fit, or start it with holdfast run --auto"
_NO_REMEDY = "This is {}, and Keras 3 on TensorFlow, JAX or PyTorch, or tf_keras, alone can be resumed"

# The modules that define a ``fit``, with its class, and what kind of Keras that is.
_TRAINERS = {
    "keras.src.backend.tensorflow.trainer": ("TensorFlowTrainer", "tensorflow"),
    "keras.src.backend.jax.trainer": ("JAXTrainer", "jax"),
    "keras.src.backend.torch.trainer": ("TorchTrainer", "torch"),
    "keras.src.backend.openvino.trainer": ("OpenVINOTrainer", "openvino"),
    "tf_keras.src.engine.training": ("Model", "tf_keras"),
    "keras.src.engine.training": ("Model", "Keras 2"),
    "keras.engine.training": ("Model", "Keras 2"),
}


def install() -> None:
    """Once for a process, as its interpreter starts."""
    stands_by = os.environ.pop(STANDBY_VARIABLE, None)
    if WARN_VARIABLE not in os.environ:
        leave_mark(PYTHON_SEEN)
        leave_mark(image_mark())
        sys.meta_path.append(HoldfastFinder())
    finder = KerasFinder()
    sys.meta_path.insert(0, finder)
    if stands_by is not None:
        finder.stood_by = True
        try:
            standby = _load_beside("standby")
        except Exception:
            os._exit(1)  # never does a script begin that nobody has let begin
        finder.changes = standby.stand_by(stands_by)


def _load_beside(name: str) -> "Any":
    """A module of this folder; the package itself is not imported before a fit needs it."""
    from _frozen_importlib_external import SourceFileLoader

    module = type(sys)("holdfast.auto." + name)
    module.__file__ = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    SourceFileLoader(module.__name__, module.__file__).exec_module(module)
    return module


def leave_mark(name: str) -> None:
    """An empty file beside the supervisor's socket says that a process of the command got so far."""
    try:
        path = os.path.join(os.path.dirname(os.environ[SOCKET_VARIABLE]), name)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except (OSError, KeyError):  # the supervisor is gone
        pass


def image_mark() -> str:
    """A name for what this process executes, and with it all that it forks: the kernel places each program anew, and
    says where in the auxiliary vector. (supervisor/command/isolation.py makes the same one.)
    """
    try:
        with open("/proc/self/auxv", "rb") as file:
            return f"image-{int.from_bytes(file.read(), 'little') % (2**61 - 1):x}"
    except OSError:
        return "image-unknown"


class KerasFinder:
    """Finds nothing by itself: of the modules that define a ``fit`` it changes how the one that is found is executed.

    It stays for good: TensorFlow looks for Keras long before it imports it. ``changes`` are those of VARIABLES that the
    script has changed before it imported the first of PACKAGES, None for one that it has removed. ``path`` is where
    this interpreter looked for packages as it started. ``peculiar``: the script has done more before an import than can
    be done again ahead: other variables, forks, threads, finders of its own, a change between two imports.
    ``stood_by``: they were imported before the script began (training/session/preload.py).
    """

    def __init__(self) -> None:
        self._environment: dict[str, str | None] = dict(os.environ)
        self.changes: dict[str, str | None] = {}
        self.path = list(sys.path)
        self.peculiar = False
        self.stood_by = False
        self._imports = 0  # of PACKAGES that are under way, one in another
        self._imported = False
        self._finders = list(sys.meta_path)
        os.register_at_fork(before=self._note_fork)
        self._looked_for: set[str] = set()

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        if name in PACKAGES:
            self._note_changes()
        elif name not in _TRAINERS:
            return None
        if name in self._looked_for:  # by another finder, which this one has asked
            return None
        self._looked_for.add(name)
        try:
            for finder in list(sys.meta_path):
                spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
                if spec is not None:
                    _watch(spec, self._execute_package if name in PACKAGES else _execute_trainer)
                    return spec
            return None
        finally:
            self._looked_for.discard(name)

    def _execute_package(self, module: "Any", execute: "Callable[[Any], None]") -> None:
        """What a package sets while it is imported is no change of the script's."""
        before = dict(os.environ)
        self._imports += 1
        try:
            execute(module)
        finally:
            self._imports -= 1
            for name in {*os.environ, *before}:
                if os.environ.get(name) != before.get(name):
                    self._environment[name] = os.environ.get(name)

    def _note_changes(self) -> None:
        if self._imports:
            return
        now, before = dict(os.environ), self._environment
        for name in {*now, *before}:
            if now.get(name) != before.get(name):
                self.peculiar |= self._imported or name not in VARIABLES
                self.changes[name] = now.get(name) if name in VARIABLES else None
        self._environment.update({name: now.get(name) for name in {*now, *before}})
        if not self._imported:
            self._imported = True
            self.peculiar |= [one for one in sys.meta_path if one is not self] != self._finders or _has_threads()
            self.peculiar |= any(name in sys.modules for name in _PATCHERS)

    def _note_fork(self) -> None:
        self.peculiar |= not self._imported


def _has_threads() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) > 1
    except OSError:
        return True


def _execute_trainer(module: "Any", execute: "Callable[[Any], None]") -> None:
    """Wraps its ``fit``."""
    execute(module)
    class_name, kind = _TRAINERS[module.__name__]
    wrap(getattr(module, class_name, None), kind)


def _watch(spec: "Any", run: "Callable[[Any, Callable[[Any], None]], None]") -> None:
    """Has ``run`` called to execute the module. Its loader is as it was then."""
    loader, name = spec.loader, spec.name
    execute = getattr(loader, "exec_module", None)
    if execute is None:  # a namespace package, say
        return

    def exec_module(module: "Any") -> None:
        if module.__name__ != name:  # some loaders serve many modules
            execute(module)
            return
        del loader.exec_module
        run(module, loader.exec_module)

    loader.exec_module = exec_module


def wrap(owner: "Any", kind: str) -> None:
    """From now on each ``fit`` of the class gets what it needs to resume, or the first one what is said of it."""
    original = vars(owner).get("fit") if owner is not None else None
    if original is None or hasattr(original, "_of_holdfast"):
        return
    only_warn = WARN_VARIABLE in os.environ
    if not only_warn:
        leave_mark(KERAS_SEEN)

    def watched(model: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        detection = sys.modules.get(_DETECTION)
        if "holdfast" in sys.modules and detection is not None:  # whether it is used shows as the fit runs
            with detection.fit_runs(args, kwargs):
                return original(model, *args, **kwargs)
        if vars(owner).get("fit") is watched:
            owner.fit = original
        what = kind if kind == "Keras 2" else "Keras on " + kind
        tell("unprotected", _UNPROTECTED + (_REMEDY if kind in _SERVED else _NO_REMEDY.format(what)))
        return original(model, *args, **kwargs)

    def protected(model: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        if SOCKET_VARIABLE not in os.environ:  # the script wants to be alone
            return original(model, *args, **kwargs)
        try:
            return _protect()(original, model, args, kwargs, kind, refuse)
        except SystemExit as ended:
            if LOOK_VARIABLE in os.environ:
                leave(ended)
            raise

    import functools  # Keras has loaded it

    wrapped = functools.wraps(original)(watched if only_warn else protected)
    wrapped._of_holdfast = True  # type: ignore[attr-defined]
    owner.fit = wrapped


def _protect() -> "Callable[..., Any]":
    """The function of protect.py, of the holdfast that this interpreter has or else of the supervisor's."""
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        refuse(f"the script's interpreter is Python {sys.version.split()[0]}, and holdfast needs {oldest} or later")
    try:
        check_version(load_package())
    except Exception as error:
        refuse(f"holdfast cannot be loaded in the script's interpreter: {error!r}")
    try:
        if LOOK_VARIABLE in os.environ:
            from holdfast.auto.look import fit
        else:
            from holdfast.auto.protect import fit
    except Exception as error:
        refuse(f"holdfast's training side cannot be loaded in the script's interpreter: {error!r}")
    return fit


def load_package() -> "Any":
    """The package holdfast. A module of the script's own that has its name is refused, and not executed."""
    from importlib.util import find_spec, module_from_spec

    spec = find_spec("holdfast")
    if spec is not None and spec.origin is not None:
        if not os.path.isdir(os.path.join(os.path.dirname(spec.origin), "training")):
            refuse(f"{spec.origin} is another module named holdfast, and hides this one: rename it")
        import holdfast

        return holdfast
    spec = HoldfastFinder().find_spec("holdfast")  # a folder of that name, with runs in it, say, is no module
    found = sys.modules["holdfast"] = module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def check_version(found: "Any") -> None:
    """Refuses what is not the supervisor's holdfast and not of its version."""
    if os.path.realpath(os.path.dirname(found.__file__)) == os.path.realpath(PACKAGE):
        return
    with open(os.path.join(PACKAGE, "__init__.py"), encoding="utf-8") as source:
        mine = next(line.split('"')[1] for line in source if line.startswith("__version__"))
    if found.__version__ != mine:
        theirs = f"holdfast {found.__version__} ({found.__file__})"
        refuse(f"the script's interpreter has {theirs}, and the supervisor is {mine}: give both the same version")


def refuse(why: str) -> "NoReturn":
    """Says why no training of this process can be made resumable, and ends it before it trains anything."""
    if LOOK_VARIABLE in os.environ:
        import json

        with open(os.environ[LOOK_VARIABLE], "a", encoding="utf-8") as file:
            file.write(json.dumps({"script": sys.argv[0], "findings": [["interpreter", "problem", why, ""]]}) + "\n")
    tell("not-served", "--auto: " + why)
    raise SystemExit(_USAGE)


def tell(kind: str, text: str) -> None:
    """Tells the supervisor, if it is there."""
    import json
    import socket

    try:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(_PATIENCE)
            stream.connect(os.environ[SOCKET_VARIABLE])
            stream.sendall(json.dumps({"kind": kind, "text": text}).encode() + b"\n")
            stream.recv(1)  # it hangs up once it knows
    except (OSError, KeyError):
        pass


def leave(ended: SystemExit) -> "NoReturn":
    """Ends the process here. The script does nothing more: it might store a model that nobody has trained."""
    import contextlib

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never there
            stream.flush()
    os._exit(ended.code if isinstance(ended.code, int) else 1)


class HoldfastFinder:
    """The last one: brings the package ``holdfast``, and nothing else, to an interpreter that does not have it."""

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        if name != "holdfast":
            return None
        from importlib.util import spec_from_file_location

        file = os.path.join(PACKAGE, "__init__.py")
        return spec_from_file_location(name, file, submodule_search_locations=[PACKAGE])
