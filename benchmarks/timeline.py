"""Where the time of a drain goes, and that of a start on a new machine: a table and a picture of each.

    python benchmarks/timeline.py [--quick] [--pictures docs/pictures]

Both are read from the events of real daemons. The drain is one of a 1 GB state, announced by a spot notice, into an S3
server that keeps up; the start is one with a 100 MB checkpoint in a folder, the disk empty.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from daemons import console, events, serving, start, until
from measure import arguments, machine, table

from holdfast.drill.fake_imds import MetadataService

TRAINING = [sys.executable, str(Path(__file__).with_name("training.py"))]
COLOURS = {"holdfast": "#2a7f9e", "training": "#b5651d"}


@dataclass(frozen=True)
class Bar:
    """``who`` spends the time: holdfast, or the training. Seconds since the beginning."""

    what: str
    who: str
    begin: float
    end: float


def drain(folder: Path, megabytes: int) -> list[Bar]:
    """From the notice in the metadata service to the supervisor's exit."""
    work_dir = folder / "drained"
    with serving("small_s3.py") as endpoint, MetadataService() as metadata:
        environment = {
            "MEGABYTES": str(megabytes), "STEPS": "1000", "EPOCHS": "2", "SAY": "1",
            "AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.endpoint,
        }  # fmt: skip
        options = ("--endpoint-url", endpoint)
        process = start("s3://bench/timeline", work_dir, TRAINING, options, **environment)
        until(lambda: console(work_dir).count("\nbatch ") >= 6, "sixth batch", process, work_dir)
        began = time.time()
        metadata.interrupt()
        process.wait()
        ended = time.time()
    at = Moments(work_dir, began)
    saved, stored = at.fact("saved"), at.fact("stored")
    boundary, uploading = at("saved") - saved["seconds"], at("stored") - stored["seconds"]
    return [
        Bar("until the next look for a notice", "holdfast", 0.0, at("stopping")),
        Bar("the batch under way", "training", at("stopping"), boundary),
        Bar("snapshot, .h5, .pkl, checksums", "holdfast", boundary, at("saved")),
        Bar(f"upload of {stored['bytes'] / 1e6:.0f} MB, manifest last", "holdfast", uploading, at("stored")),
        Bar("the training's process ends", "training", at("saved"), at("exited")),
        Bar("logs, lease, exit", "holdfast", max(at("stored"), at("exited")), ended - began),
    ]


def resume(folder: Path, megabytes: int) -> list[Bar]:
    """From the start of the process to the first new batch."""
    store, first, second = str(folder / "store"), folder / "first", folder / "second"
    environment = {"MEGABYTES": str(megabytes), "STEPS": "4", "EPOCHS": "1000000"}
    for work_dir in (first, second):
        stamp, began = folder / f"{work_dir.name}.stamp", time.time()
        process = start(store, work_dir, TRAINING, STAMP=str(stamp), **environment)
        until(lambda path=stamp: path.exists() and path.read_text() != "", "first batch", process, work_dir)
        process.terminate()
        process.wait()
    at = Moments(second, began)
    batch = float(stamp.read_text()) - began
    return [
        Bar("the supervisor starts; lease; list", "holdfast", 0.0, at("started")),
        Bar(f"checkpoint of {megabytes} MB: pull and verify", "holdfast", at("started"), at("restored")),
        Bar("import of TensorFlow, the model", "training", at("started"), at("training-began")),
        Bar("weights and state put in; first step traced; batch", "training", at("training-began"), batch),
    ]


class Moments:
    """When each kind of event came, the last of its kind, in seconds since ``began``."""

    def __init__(self, work_dir: Path, began: float) -> None:
        self._began = began
        self._found = {event["event"]: event for event in events(work_dir)}

    def __call__(self, kind: str) -> float:
        return datetime.fromisoformat(self.fact(kind)["at"]).timestamp() - self._began

    def fact(self, kind: str) -> dict[str, Any]:
        return self._found[kind]


def picture(title: str, bars: Sequence[Bar]) -> str:
    """An SVG, readable on light and on dark pages."""
    width, left, row = 900, 330, 30
    height = 50 + row * len(bars) + 30
    scale = (width - left - 80) / max(bar.end for bar in bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        ' font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="26" font-size="16" fill="#222222">{escape(title)}</text>',
    ]
    for number, bar in enumerate(bars):
        y = 50 + row * number
        x, length = left + bar.begin * scale, max(1.5, (bar.end - bar.begin) * scale)
        lines += [
            f'<text x="{left - 10}" y="{y + 15}" text-anchor="end" fill="#222222">{escape(bar.what)}</text>',
            f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="20" fill="{COLOURS[bar.who]}"/>',
            f'<text x="{x + length + 6:.1f}" y="{y + 15}" fill="#222222">{bar.end - bar.begin:.2f} s</text>',
        ]
    y = 50 + row * len(bars) + 16
    for number, (who, colour) in enumerate(COLOURS.items()):
        x = left + 130 * number
        lines.append(f'<rect x="{x}" y="{y - 11}" width="13" height="13" fill="{colour}"/>')
        lines.append(f'<text x="{x + 20}" y="{y}" fill="#222222">{who}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    given = arguments(__doc__, pictures="")
    print(f"{machine()}.\n")
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        found = {
            "drain": drain(Path(name), 100 if given.quick else 1000),
            "resume": resume(Path(name), 100),
        }
    titles = {"drain": "A drain, from the notice to the exit", "resume": "A start on a new machine"}
    for kind, bars in found.items():
        print(f"{titles[kind]}\n")
        table(("what", "who", "from, s", "to, s"), [(b.what, b.who, f"{b.begin:.2f}", f"{b.end:.2f}") for b in bars])
        if given.pictures:
            folder = Path(given.pictures)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{kind}.svg").write_text(picture(titles[kind], bars))


if __name__ == "__main__":
    main()
