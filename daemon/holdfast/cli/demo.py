"""``holdfast demo``: the whole story on one machine, in a minute."""

from __future__ import annotations

import click

from .common.show import unwrapped


@click.command()
def demo() -> int:
    """See a training outlive its machine: real processes, a real spot notice, no AWS account; about a minute."""
    from ..drill.demo import demo as play
    from ..drill.stop_signals import StopSignals

    with StopSignals() as signals:
        return play(unwrapped(), signals.check)
