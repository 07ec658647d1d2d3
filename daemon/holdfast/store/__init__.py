"""Where checkpoints outlive the machine: one small protocol, a module for each kind of store."""

from .base import SMALL, Entry, HasFolder, KnownParts, OnSent, Store, StoreSettings, check_key, check_prefix
from .open import open_store

__all__ = [
    "SMALL",
    "Entry",
    "HasFolder",
    "KnownParts",
    "OnSent",
    "Store",
    "StoreSettings",
    "check_key",
    "check_prefix",
    "open_store",
]
