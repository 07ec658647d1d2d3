"""What a drill refuses before it begins, and how it shows what it found."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console

from holdfast.cli.drill import drill, show
from holdfast.core.errors import SettingsError
from holdfast.drill.result import Report


def test_an_environment_without_what_compares_arrays_is_told_which_extra_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)  # as if it was not installed
    with pytest.raises(SettingsError, match=r"lacks h5py .*" + re.escape("pip install '.[drill]'")):
        drill.main(["--", sys.executable], standalone_mode=False)


def test_what_no_checkpoint_has_is_named_beside_the_verdict() -> None:
    for quiet in (False, True):
        out = io.StringIO()
        show(Console(file=out, width=100), Report(1, identical=True, not_kept=["Mine.last", "Mine.phase"]), quiet)
        named, verdict = out.getvalue().splitlines()
        assert named == "not kept, and not compared: Mine.last, Mine.phase"
        assert "identical" in verdict
