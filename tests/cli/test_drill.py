"""What a drill refuses before it begins."""

from __future__ import annotations

import re
import sys

import pytest

from holdfast.cli.drill import drill
from holdfast.core.errors import SettingsError


def test_an_environment_without_what_compares_arrays_is_told_which_extra_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)  # as if it was not installed
    with pytest.raises(SettingsError, match=r"lacks h5py .*" + re.escape("pip install '.[drill]'")):
        drill.main(["--", sys.executable], standalone_mode=False)
