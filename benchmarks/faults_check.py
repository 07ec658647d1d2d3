"""Rereads what the store has with a plain S3 client, and holds it against what was said and what was trained.

Nothing of holdfast is used here: names, manifests and checksums are read as README.md describes them.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import h5py
import numpy as np
from faults_training import digest, first_state, next_state


@dataclass
class Findings:
    """``lost`` says what is wrong with a pair that some event calls stored; all else are counts."""

    said_stored: int = 0
    pairs: int = 0
    wholly_in_ledger: int = 0
    lost: list[str] = field(default_factory=list)
    written_twice: int = 0
    rewritten: list[str] = field(default_factory=list)
    wrong_ends: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.rewritten or self.wrong_ends)


def events(work_dirs: Iterable[Path], run: str) -> Iterator[dict[str, Any]]:
    for folder in work_dirs:
        path = folder / run / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        yield from (json.loads(line) for line in lines if line.endswith("}"))


def read_ledger(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Truth:
    """The states of the undisturbed training, at the steps that are asked for."""

    def __init__(self, size: int, steps: Iterable[int]) -> None:
        wanted, state = set(steps), first_state(size)
        self.states = {0: digest(state)}
        for step in range(1, max(wanted, default=0) + 1):
            state = next_state(state)
            if step in wanted:
                self.states[step] = digest(state)


class Reader:
    def __init__(self, endpoint: str, bucket: str, prefix: str) -> None:
        self._client = boto3.client("s3", endpoint_url=endpoint)
        self._bucket = bucket
        self._prefix = prefix

    def read(self, name: str) -> bytes:
        """Raises KeyError if there is no such object."""
        try:
            return self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            raise KeyError(name) from None

    def versions(self) -> dict[str, list[str]]:
        """Every write that each object ever saw, by its ETag."""
        found: dict[str, list[str]] = {}
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=self._prefix)
        for version in (version for page in pages for version in page.get("Versions", [])):
            found.setdefault(version["Key"].removeprefix(self._prefix), []).append(version["ETag"])
        return found


def step_of(name: str) -> int:
    return int(name.split("-")[2])


def order_of(name: str) -> tuple[int, int]:
    incarnation, save = name.split("-")[-2:]
    return int(incarnation[1:]), int(save[1:])


def check(reader: Reader, said: list[dict[str, Any]], ledger: list[dict[str, Any]], size: int) -> Findings:
    """Everything that an event calls stored must be there, whole, and be what was trained at that step."""
    found = Findings()
    stored = [event["checkpoint"] for event in said if event["event"] == "stored"]
    recorded = {line["pair"]: line["files"] for line in reversed(ledger) if "pair" in line}  # as it was first seen
    versions = reader.versions()
    whole = {key.removesuffix(".json") for key in versions if key.startswith("model-") and key.endswith(".json")}
    steps = {step_of(name) for name in {*stored, *whole}} | {line["step"] for line in ledger if "step" in line}
    truth = Truth(size, steps)
    found.said_stored, found.pairs = len(stored), len(set(stored))
    for name in sorted(set(stored), key=order_of):
        wrong = _what_is_wrong(reader, name, recorded.get(name, {}), truth)
        found.wholly_in_ledger += len(recorded.get(name, {})) == 2
        if wrong:
            found.lost.append(f"{name}: {wrong}")
    for key, tags in versions.items():
        if key.startswith("model-"):
            found.written_twice += len(tags) > 1
            if len(set(tags)) > 1:
                found.rewritten.append(f"{key} was written with different content")
    found.wrong_ends += _wrong_end(reader, whole, ledger, truth)
    return found


def _what_is_wrong(reader: Reader, name: str, recorded: dict[str, Any], truth: Truth) -> str | None:
    try:
        manifest = json.loads(reader.read(f"{name}.json"))
        data = {part: reader.read(f"{name}.{part}") for part in ("h5", "pkl")}
    except KeyError as error:
        return f"{error.args[0]} is not in the store"
    except ValueError:
        return "its manifest is not JSON"
    for part, content in data.items():
        file = manifest["files"][part]
        really = [len(content), hashlib.sha256(content).hexdigest()]
        if [len(content), _sha256(content, file)] != [file["size"], file.get("sha256_of_parts", file.get("sha256"))]:
            return f"its .{part} is not what its manifest says"
        if part in recorded and really != recorded[part]:
            return f"its .{part} is not what was on the machine"
    if _state_in(data["h5"]) != truth.states[step_of(name)]:
        return "its state is not that of the undisturbed training"
    return None


def _sha256(content: bytes, file: dict[str, Any]) -> str:
    """As the manifest has it: the content's, or that of the parts' digests."""
    if "parts" not in file:
        return hashlib.sha256(content).hexdigest()
    length = file["parts"]["size"]
    parts = (content[at : at + length] for at in range(0, len(content), length))
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _state_in(h5: bytes) -> str:
    with h5py.File(io.BytesIO(h5), "r") as file:
        return digest(np.asarray(file["arrays/0"]))


def _wrong_end(reader: Reader, whole: set[str], ledger: list[dict[str, Any]], truth: Truth) -> list[str]:
    """The newest pair must be the end of the training, and equal the undisturbed one's."""
    ends = [line for line in ledger if "finished" in line]
    if not ends:
        return ["the training never came to its end"]
    try:
        reader.read("complete.json")
    except KeyError:
        return ["the run is not marked complete"]
    newest = max(whole, key=order_of)
    wrong = _what_is_wrong(reader, newest, {}, truth)
    if wrong or step_of(newest) != ends[-1]["finished"]:
        return [f"the newest pair {newest} is not the end at step {ends[-1]['finished']}: {wrong}"]
    return [
        f"step {line['step']} was trained differently"
        for line in ledger
        if "step" in line and line["state"] != truth.states[line["step"]]
    ]
