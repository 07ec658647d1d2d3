"""What of this process a later start of the same command may import before its script begins."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ...core.preload import PACKAGES, Preload


def loaded() -> dict[str, Any]:
    """As Preload, plain, with the variables as they are in this start.

    Empty where that would not be the same: a package comes from a folder that the script has added, or the script had
    done more before the imports than can be done again ahead.
    """
    finder = _finder()
    packages = tuple(name for name in list(sys.modules) if name in PACKAGES)
    if finder is None or finder.peculiar or not all(_is_below(finder.path, name) for name in packages):
        return {}
    changes = {name: os.environ.get(name) for name in finder.changes} if finder.stood_by else finder.changes
    return Preload(packages, dict(changes)).to_plain()


def changed_since() -> list[str]:
    """The variables that were set for imports before the script began, and that the script has set otherwise since."""
    finder = _finder()
    changes = finder.changes if finder is not None and finder.stood_by else {}
    return sorted(name for name, value in changes.items() if os.environ.get(name) != value)


def _finder() -> Any:
    """auto/hook.py's, which every Python process of a command has."""
    return next((one for one in sys.meta_path if type(one).__name__ == "KerasFinder"), None)


def _is_below(path: list[str], name: str) -> bool:
    origin = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None)
    return isinstance(origin, str) and str(Path(origin).parent.parent) in path
