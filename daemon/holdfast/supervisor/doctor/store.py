"""Findings about the store: rights, conditional writes, the clock, and the time that a pair takes."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.policy import ask_time
from .facts import MB, DoctorFacts, Finding, seconds, size

_SKEW_REFUSED, _SKEW_ODD = 900, 60


def rights(facts: DoctorFacts) -> Finding:
    store = facts.store
    if not store.denied:
        return Finding("store", "ok", f"{store.uri}: {', '.join(store.tried)} work")
    if store.remedies:
        return Finding("store", "problem", _joined(store.denied), "; ".join(store.remedies))
    if set(store.denied) == set(store.tried):
        return Finding("store", "problem", _joined(store.denied), "nothing works: correct --store or the credentials")
    in_iam = f" (in IAM: {', '.join(_actions(store.denied))})" if store.uri.startswith("s3:") else ""
    remedy = f"allow that for all objects under {store.uri}{in_iam}"
    if in_iam and "put" in store.denied:
        remedy += "; or, if the bucket's policy demands encryption, set --sse AES256 or --sse aws:kms"
    return Finding("store", "problem", _joined(store.denied), remedy)


def _joined(denied: Mapping[str, str]) -> str:
    by_error: dict[str, list[str]] = {}
    for operation, error in denied.items():
        by_error.setdefault(error, []).append(operation)
    return "; ".join(f"{', '.join(operations)} failed: {error}" for error, operations in by_error.items())


_IAM = {
    "list": "s3:ListBucket",
    "put": "s3:PutObject",
    "get": "s3:GetObject",
    "delete": "s3:DeleteObject",
    "parts": "s3:AbortMultipartUpload",
}


def _actions(denied: Mapping[str, str]) -> list[str]:
    return [_IAM[operation] for operation in denied if operation in _IAM]


def made(facts: DoctorFacts) -> Finding | None:
    if not facts.store.made:
        return None
    text = f"{facts.store.uri} was not there before this test, which leaves nothing"
    return Finding("store's folder", "warning", text, "is its disk mounted? holdfast run makes the folder anew")


def leftovers(facts: DoctorFacts) -> Finding | None:
    if not facts.store.left:
        return None
    return Finding("probe", "warning", f"could not be removed: {', '.join(facts.store.left)}", "remove them by hand")


def conditions(facts: DoctorFacts) -> Finding | None:
    check, found = "conditional writes", facts.store
    if found.unkept:
        remedy = "the run's lease requires them: see to it that small objects can be written and read"
        return Finding(check, "problem", f"could not be tried: {found.unkept}", remedy)
    if found.kept is None:
        return None
    if found.kept.missing:
        remedy = (
            "see to it yourself that one machine at a time works on a run, or take a store that has them, such as "
            "Amazon S3; holdfast looks before and after it writes, which leaves a small gap"
        )
        return Finding(check, "warning", f"this store {found.kept.missing}", remedy)
    bare = "" if found.kept.quotes else "; this store compares ETags without their quotes, so they are sent without"
    return Finding(check, "ok", f"supported; the run's lease requires them{bare}")


def clock(facts: DoctorFacts) -> Finding | None:
    skew = facts.store.skew
    if skew is None:
        return None
    text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the store's"
    if abs(skew) >= _SKEW_REFUSED:
        return Finding("clock", "problem", text, "S3 refuses requests 15 minutes off: set the clock (chrony)")
    if abs(skew) >= _SKEW_ODD:
        return Finding("clock", "warning", text, "deadlines of notices will be misread: set the clock (chrony)")
    return Finding("clock", "ok", "agrees with the store's")


def drain(facts: DoctorFacts) -> Finding | None:
    """Of a drain's time the child may take a part for saving; the rest is the upload's."""
    rate, takes = facts.store.put_rate, facts.store_time
    if rate is None:
        return None
    share = facts.drain_time - ask_time(facts.drain_time)
    speed = f"round trip {1000 * (facts.store.round_trip or 0):.0f} ms, put {rate / MB:.0f} MB/s"
    if facts.store.get_rate is not None:
        speed += f", get {facts.store.get_rate / MB:.0f} MB/s"
    if takes is None:
        return Finding("drain", "ok", f"{speed}: in {share:.0f} s of a drain, a pair of up to {size(rate * share)}")
    text = f"{speed}: storing the newest pair ({size(facts.pair or 0)}) takes about {seconds(takes)}"
    if takes > facts.drain_time:
        remedy = "use a bucket in this region, or a faster network; a spot notice gives 120 s and no more"
        return Finding("drain", "problem", f"{text}, and a drain has {facts.drain_time:.0f} s", remedy)
    if takes > share:
        text += f", and a drain that waits {ask_time(facts.drain_time):.0f} s for the save has {share:.0f} s left"
        return Finding("drain", "warning", text, "save sooner: smaller pairs, a nearer bucket, a longer --drain-time")
    return Finding("drain", "ok", f"{text} of {facts.drain_time:.0f} s")
