"""The AWS SDK reads and parses the description of a service for every session anew, 0.2 s each; once is enough here."""

from __future__ import annotations

import functools

import botocore.session


def share_descriptions() -> None:
    """From now on all sessions of this process have one loader, which keeps what it has read."""
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
