"""Words for people."""

from __future__ import annotations


def count(number: int, noun: str, several: str = "") -> str:
    """``1 pair``, ``2 pairs``; ``1 batch``, ``2 batches`` where ``several`` says so."""
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"
