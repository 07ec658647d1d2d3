"""The ``holdfast`` command, also as ``python -m holdfast``."""

from __future__ import annotations

import os
import sys

_STOPPED = 75  # core/errors.py's Exit.STOPPED, which may not be loaded yet


def main() -> None:
    """Loads the command and runs it. Ctrl-C before or after it runs is one line, as in between."""
    try:
        from .cli.main import main as run

        run()
    except KeyboardInterrupt:
        print("holdfast: error: interrupted", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(_STOPPED)


if __name__ == "__main__":
    main()
