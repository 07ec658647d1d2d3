"""What an interpreter of the command can import before its script begins, so that a later start need not wait for it.

The training process tells it, the lease carries it to the next machine, and auto/standby.py does it there. What came
from the store is read leniently: nothing but the packages and the variables that are listed here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# As in auto/hook.py, which can import nothing.
PACKAGES = ("numpy", "scipy", "h5py", "pandas", "sklearn", "tensorflow", "tf_keras", "keras", "jax", "torch")
VARIABLES = (
    *("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC"),
    *("TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR", "TF_USE_LEGACY_KERAS", "TF_NUM_INTEROP_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "KERAS_BACKEND", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "XLA_FLAGS"),
    *("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION", "JAX_PLATFORMS", "JAX_ENABLE_X64"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "PYTHONHASHSEED"),
)
_LONGEST_VALUE = 1000


@dataclass(frozen=True)
class Preload:
    """``packages`` in the order in which they are imported. ``environment`` are the variables that the script had
    changed before that; None stands for one that it had removed. ``command`` is a digest of what it holds for.
    """

    packages: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    command: str = ""

    @classmethod
    def from_plain(cls, found: object) -> Preload | None:
        """None where there is nothing to import, or it is not understood."""
        if not isinstance(found, dict):
            return None
        packages, environment, command = (found.get(name) for name in ("packages", "environment", "command"))
        if not isinstance(packages, list) or not isinstance(environment, dict) or not isinstance(command, str):
            return None
        if not all(map(_is_variable, environment.items())):
            return None
        known = tuple(name for name in dict.fromkeys(map(str, packages)) if name in PACKAGES)
        return cls(known, environment, command) if known else None

    def to_plain(self) -> dict[str, object]:
        return {"packages": list(self.packages), "environment": dict(self.environment), "command": self.command}


def digest_of(command: Sequence[str], script_sha256: str | None) -> str:
    """The same for the same words and the same script."""
    return hashlib.sha256("\0".join([*command, str(script_sha256)]).encode(errors="surrogateescape")).hexdigest()


def _is_variable(item: tuple[object, object]) -> bool:
    """No value with a path: XLA_FLAGS may name files, and a bucket is no way into the machine."""
    name, value = item
    plain = isinstance(value, str) and len(value) <= _LONGEST_VALUE and not {"\0", "/"} & set(value)
    return name in VARIABLES and (value is None or plain)
