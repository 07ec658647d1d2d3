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


def fit_text(number: int) -> str:
    """``fit 2: `` before an epoch that could be another fit's; nothing in the first, often the only one."""
    return f"fit {number}: " if number > 1 else ""


def count(number: int, noun: str, several: str = "") -> str:
    """``1 pair``, ``2 pairs``; ``1 batch``, ``2 batches`` where ``several`` says so."""
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"


def duration_text(seconds: float) -> str:
    """``48 s``, ``12 min``, ``3 h 20 min``, ``4 d 2 h``."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
