"""Every module can be imported, also by the names that are put together from text."""

from __future__ import annotations

import os
import subprocess
import sys

IMPORTS_ALL = """
import importlib, pkgutil
from importlib.util import find_spec
import holdfast
for name in holdfast.__all__:
    getattr(holdfast, name)
for module in pkgutil.walk_packages(holdfast.__path__, "holdfast."):
    framework = module.name.rpartition(".backends.")[2].partition("_")[0]
    apart = framework in ("jax", "torch") and find_spec(framework) is None  # its tests have it in a folder apart
    apart = apart or ("keras_2" in module.name and find_spec("tf_keras") is None)
    if not module.name.endswith(".__main__") and not apart:
        importlib.import_module(module.name)
"""


def test_every_module_and_name_is_there_also_under_a_supervisor(tmp_path: os.PathLike[str]) -> None:
    """Under ``holdfast run`` the package imports more as it is loaded."""
    environment = {**os.environ, "HOLDFAST_SOCKET": os.path.join(tmp_path, "nobody"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", IMPORTS_ALL]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
