"""Numbers in words, for messages."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB")


def bytes_text(size: float) -> str:
    """``1.2 GB``, in powers of ten."""
    if size < 1000:
        return count(int(size), "byte")
    for unit in _UNITS:
        size /= 1000
        if size < 999.95 or unit == _UNITS[-1]:
            break
    return f"{size:,.1f} {unit}"


def count(number: int, noun: str, several: str = "") -> str:
    """``1 pair``, ``2 pairs``; ``1 batch``, ``2 batches`` where ``several`` says so."""
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"
