"""What only one rank knows of a state: how it travels to rank 0, how that checks it, and how the rank gets it back.

All ranks have the same weights, and stand at the same boundary of the same training. Rank 0 checks that before it
writes the pair: with what differs, no resume would be exact.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...core import restricted_pickle
from ...core.errors import InvalidPair
from ...core.wording import bytes_text
from ..pair.pair_files import Draft

MOST_BYTES = 700_000
"""Compressed: a message has a mebibyte, and base64 takes a third more."""
_MOST_PLAIN_BYTES = 64 << 20
_LARGE = 1 << 14
_AS_RANK_0 = "~as rank 0 has it"
_ALIKE = ("ended", "begun", "at_end", "fit")
"""Facts that are the same on all ranks at one boundary, or these train no longer together."""


@dataclass(frozen=True)
class OwnState:
    """One rank's: where it stands, its ``facts``, and the ``digests`` of values that all ranks have."""

    at: tuple[int, int, int]
    facts: Mapping[str, Any]
    digests: Mapping[str, str]

    @classmethod
    def of(cls, draft: Draft, facts: Mapping[str, Any]) -> OwnState:
        return cls(draft.position.at, facts, draft.digests())

    @property
    def step(self) -> int:
        return self.at[2]

    def packed(self, rank: int) -> bytes:
        """Where it is too large to be sent, large values that rank 0 should have as well are only named.

        Raises ValueError where that does not help.
        """
        document = {**asdict(self), "facts": dict(self.facts), "digests": dict(self.digests)}
        data = zlib.compress(restricted_pickle.dumps(document), 1)
        if len(data) > MOST_BYTES:
            data = zlib.compress(restricted_pickle.dumps({**document, "facts": _named(self.facts)}), 1)
        if len(data) > MOST_BYTES:
            raise ValueError(
                f"what only rank {rank} knows (its position in the data, mostly) has {bytes_text(len(data))}, and may "
                f"have {bytes_text(MOST_BYTES)} where several machines train together"
            )
        return data

    def check(self, rank: int, data: bytes) -> bool:
        """Rank 0's own state and that rank's are of one state. Raises ValueError with what differs.

        Returns whether both are given the same arrays.
        """
        theirs = unpacked(data, rank)
        if theirs.at != self.at:
            raise ValueError(f"rank {rank} is at epoch, batch and step {theirs.at}, and rank 0 at {self.at}")
        for key in _ALIKE:
            if theirs.facts.get(key) != self.facts.get(key):
                text = f"{key!r} is {theirs.facts.get(key)!r} on rank {rank}, and {self.facts.get(key)!r} on rank 0"
                raise ValueError(f"{text}: the ranks no longer do the same, as where a callback ends one of them alone")
        for path, digest in self.digests.items():
            if theirs.digests.get(path, digest) != digest:
                raise ValueError(
                    f"{path} is another one on rank {rank} than on rank 0: its gradients are not added up over the "
                    "ranks, or it is a rank's own (holdfast.session keeps such values in 'values', not in 'arrays')"
                )
        for keys, digest in _names(theirs.facts):
            if digest != _digest(_at(self.facts, keys)):
                raise ValueError(
                    f"{'/'.join(map(str, keys))} is large, and another one on rank {rank} than on rank 0. Shuffle file "
                    "names or indices, and read the samples after that"
                )

        mine, other = _arrays(self.facts), _arrays(theirs.facts)
        return mine is not None and mine == other

    def merged(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """These facts, with rank 0's ``facts`` where this rank has none of its own. Raises InvalidPair.

        Which pairs there are is known to rank 0, and which training is which to each rank: they feed other data.
        """
        own = _filled(self.facts, facts, ())
        mine, theirs = own.pop("fits", None), facts.get("fits")
        own.pop("fit", None)
        if isinstance(mine, list) and isinstance(theirs, list):
            if len(mine) != len(theirs):
                raise InvalidPair("its .pkl is malformed: its ranks do not have the same trainings")
            pairs = zip(theirs, mine, strict=True)
            own["fits"] = [{**one, "identity": other.get("identity")} for one, other in pairs]
        return {**facts, **own}


def unpacked(data: Any, rank: int) -> OwnState:
    """Raises InvalidPair."""
    try:
        plain = zlib.decompressobj().decompress(data, _MOST_PLAIN_BYTES)
        document = restricted_pickle.loads(plain)
        epoch, batch, step = document["at"]
        facts, digests = document["facts"], document["digests"]
    except (KeyError, TypeError, ValueError, zlib.error):
        raise InvalidPair(f"there is no whole state of rank {rank}") from None
    if not (isinstance(facts, dict) and isinstance(digests, dict)):
        raise InvalidPair(f"there is no state of rank {rank}")
    return OwnState((epoch, batch, step), facts, digests)


def _arrays(facts: Mapping[str, Any]) -> Any:
    """The fingerprint of the arrays that a fit is given; None for other data."""
    fits, own = facts.get("fits"), facts.get("fit")
    if "arrays" not in facts or not isinstance(fits, list) or type(own) is not int or own >= len(fits):
        return None
    identity = fits[own].get("identity")
    return identity.get("data") if isinstance(identity, dict) else None


def _digest(value: Any) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=16).hexdigest()


def _named(value: Any) -> Any:
    """With the large texts and bytes in it replaced by their digests."""
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_named(item) for item in value)
    large = isinstance(value, bytes | str) and len(value) > _LARGE
    return {_AS_RANK_0: _digest(value)} if large else value


def _names(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(value, dict) and _AS_RANK_0 in value:
        yield path, value[_AS_RANK_0]
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _names(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _names(item, (*path, index))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _filled(value: Any, whole: Any, path: tuple[Any, ...]) -> Any:
    if isinstance(value, dict) and _AS_RANK_0 in value:
        return _at(whole, path)
    if isinstance(value, dict):
        return {key: _filled(item, whole, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(item, whole, (*path, index)) for index, item in enumerate(value))
    return value
