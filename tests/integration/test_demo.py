"""``holdfast demo``, as a person starts it."""

from __future__ import annotations

import pytest

from .daemons import Daemon


@pytest.mark.whole
def test_the_demo_shows_identical_weights_and_exits_0() -> None:
    daemon = Daemon(["demo"], {})
    code = daemon.process.wait(200)
    daemon.close()
    assert code == 0, daemon.text
    assert "identical, bit for bit" in daemon.text
    assert "epochs of handwritten digits" in daemon.text
    assert "Traceback" not in daemon.text
