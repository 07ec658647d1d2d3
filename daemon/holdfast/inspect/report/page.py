"""The page of a report: one HTML file that needs no network and no script, in light and dark, on paper too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from ...core.wording import bytes_text, count, duration_text
from .charts import charts
from .lanes import lanes, time_bar
from .markup import Markup, joined, tag
from .moments import clock, full
from .verdict import AT_LEAST

_MOST_ROWS = 100
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # a browser loads nothing and runs nothing, whatever is in it


def page(summary: Mapping[str, Any]) -> str:
    """``summary`` is what ``document`` made."""
    style = Markup(resources.files(__package__).joinpath("page.css").read_text())
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{summary['run']}: {summary['state']}"),
        tag("style", style),
    )
    body = tag("body", tag("main", _header(summary), _figures(summary), _sections(summary), _footer(summary)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _header(summary: Mapping[str, Any]) -> Markup:
    progress = summary["progress"]
    bar = joined()
    if progress and progress["share"] is not None:
        bar = tag("div", tag("span", style=f"width:{100 * progress['share']:.2f}%"), class_="progress")
    return tag(
        "header",
        tag("h1", summary["run"], tag("span", summary["state"], class_=f"state {summary['state']}")),
        tag("p", summary["verdict"], class_="verdict"),
        bar,
        tag("p", " ".join(summary["command"])[:1000], class_="command") if summary["command"] else "",
    )


def _figures(summary: Mapping[str, Any]) -> Markup:
    goodput, cost, progress, seconds = summary["goodput"], summary["cost"], summary["progress"], summary["seconds"]
    machines = sum(value for kind, value in seconds.items() if kind != "gap")
    least, ranks = ", at least" if summary["untold"] else "", summary["ranks"]
    unknown = "not known yet" if summary["state"] == "running" else "unknown"
    cards = [
        (
            "left",
            f"about {duration_text(progress['seconds_left'])}",
            f"done about {full(summary['made'] + progress['seconds_left'])}",
        )
        if progress and progress["seconds_left"] is not None
        else None,
        (
            "runtime goodput",
            _percent(goodput["runtime"], unknown),
            "of the time with a machine counts",
        ),
        ("overall goodput", _percent(goodput["overall"], unknown), "of the time since the run began"),
        (f"machine time{least}", duration_text(ranks * machines), _of_starts(summary)),
        ("batches", f"{summary['batches']['step']:,}", f"{summary['batches']['executed']:,} executed"),
        *_cost_cards(cost, least),
    ]
    return tag(
        "section",
        [
            tag("div", tag("h3", title), tag("p", value, class_="value"), tag("p", text))
            for title, value, text in filter(None, cards)
        ],
        class_="cards",
    )


def _of_starts(summary: Mapping[str, Any]) -> str:
    together = f", {count(summary['ranks'], 'machine')} at a time" if summary["ranks"] > 1 else ""
    return f"in {count(summary['starts'], 'start')}{together}"


def _cost_cards(cost: Mapping[str, Any] | None, least: str) -> list[tuple[str, str, str]]:
    if cost is None:
        return []
    found = []
    if cost["spot"] is not None:
        text = f"{cost['hours']:.2f} h at {cost['price_spot']:g} an hour"
        found.append((f"cost{least}", f"{cost['spot']:.2f}", text))
    if cost["on_demand"] is not None:
        text = f"{cost['undisturbed_hours']:.2f} h undisturbed, at {cost['price_on_demand']:g} an hour"
        found.append(("on demand", f"{cost['on_demand']:.2f}", text))
    if cost["saved"] is not None:
        most = ", at most" if least else ""
        found.append((f"saved{most}", f"{cost['saved']:.2f}", f"{_percent(cost['saved_share'])} against on demand"))
    return found


def _sections(summary: Mapping[str, Any]) -> list[Markup]:
    if not summary["starts"]:
        return [_section("Checkpoints", _checkpoints(summary))]
    return [
        _section("Where the time went", time_bar(summary["seconds"])),
        _section("Starts", _text(_LANES), lanes(summary)),
        *(
            [_section("Loss and metrics", _text(_CURVES), tag("div", charts(summary), class_="charts"))]
            if summary["curves"]
            else []
        ),
        *([_section("Interruptions", _interruptions(summary))] if summary["interruptions"] else []),
        *([_section("Last warnings and failures", _troubles(summary))] if summary["troubles"] else []),
        *([_section("What changed between starts", _changes(summary))] if summary["changes"] else []),
        _section("Checkpoints", _checkpoints(summary)),
    ]


_LANES = (
    "A lane for each start of holdfast, over wall time (UTC). The colours are those above; a red line is an "
    "interruption notice, a short tick a stored checkpoint, a dark line a crash, a hang, or a rank that was lost."
)
_CURVES = (
    "As the checkpoints have them: at an epoch's end, or within an epoch as far as it was. A dotted line is where "
    "another start took over, where these are not too many. A line ends with its fit, and over time where no machine "
    "trained."
)


def _interruptions(summary: Mapping[str, Any]) -> Markup:
    rows = [
        (
            str(one["start"]),
            full(one["at"]),
            one["reason"],
            str(one["exit_code"]) if one["exit_code"] is not None else "none",
            f"{AT_LEAST if one['at_least'] else ''}{one['again']}",
            "" if one["gap"] is None else "the next one had begun" if one["gap"] < 0 else duration_text(one["gap"]),
        )
        for one in summary["interruptions"]
    ]
    return _table(("start", "when", "reason", "exit", "batches redone", "until the next start"), rows, (0, 3, 4, 5))


def _troubles(summary: Mapping[str, Any]) -> Markup:
    return tag(
        "ul",
        [
            tag(
                "li",
                tag("b", f"start {one['start']}, {clock(one['at'], True)}"),
                f" {one['event']}: {one['text']}",
                tag("pre", "\n".join(one["lines"])) if one["lines"] else "",
            )
            for one in reversed(summary["troubles"])
        ],
        class_="troubles",
    )


def _changes(summary: Mapping[str, Any]) -> Markup:
    rows = [(str(one["start"]), full(one["at"]), "; ".join(one["changes"])) for one in summary["changes"]]
    return _table(("start", "when", "what is not as it was"), rows, (0,))


def _checkpoints(summary: Mapping[str, Any]) -> Markup:
    found = summary["checkpoints"]
    fits = any((one["fit"] or 1) > 1 for one in found["newest"])
    rows = [
        (
            *([str(one["fit"] or "")] if fits else []),
            str(one["epoch"]),
            "" if one["batch"] is None else str(one["batch"]),
            str(one["step"]),
            "" if one["loss"] is None else f"{one['loss']:.4f}",
            bytes_text(one["size"]),
            "" if one["age"] is None else f"{duration_text(one['age'])} ago",
            one["reason"],
            ", ".join(one["why"]),
            one["state"],
            _verified(one["verified"]),
        )
        for one in found["newest"]
    ]
    titles = ("epoch", "batch", "step", "loss", "size", "stored", "saved for", "kept as", "state", "verified by")
    more = f", the newest {len(rows)} are shown" if found["count"] > len(rows) else ""
    text = (
        f"{count(found['count'], 'checkpoint')}, {bytes_text(found['size'])}{more}. {_keeping(found['keep'])}"
        "A start that resumes from one verifies every byte; so does 'holdfast verify', which leaves no trace here."
    )
    table = _table((*(("fit",) if fits else ()), *titles), rows, range(6 + fits))
    return joined(_text(text), table if rows else "")


def _verified(by: Mapping[str, Any] | None) -> str:
    return "" if by is None else f"start {by['start']}, {clock(by['at'], True)}"


def _keeping(keep: Mapping[str, Any] | None) -> str:
    if keep is None:
        return ""
    return "" if any(keep.values()) else "All are kept: no --keep option was given. "


def _footer(summary: Mapping[str, Any]) -> Markup:
    unread = summary["unread"]
    parts = [f"Made by holdfast report on {full(summary['made'])}, from the store '{summary['store']}' alone."]
    missing = ", ".join(unread["files"]) or "none"
    if unread["lines"] or unread["files"]:
        parts.append(f" {count(unread['lines'], 'line')} of events could not be read; missing: {missing}.")
    if summary["unseen"]:
        numbers = ", ".join(map(str, summary["unseen"][:20]))
        parts.append(f" The store has no events of start (by the lease's number): {numbers}.")
    return tag("footer", *parts)


# --- parts ---------------------------------------------------------------------------------------------------------


def _section(title: str, *content: Markup) -> Markup:
    return tag("section", tag("h2", title), *content)


def _text(text: str) -> Markup:
    return tag("p", text, class_="note")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> Markup:
    """The newest rows are last where there are too many."""
    left_out = max(0, len(rows) - _MOST_ROWS)
    head = tag("tr", [tag("th", title, class_=_align(i, right)) for i, title in enumerate(titles)])
    body = [
        tag("tr", [tag("td", cell, class_=_align(i, right)) for i, cell in enumerate(row)]) for row in rows[left_out:]
    ]
    note = _text(f"{left_out} earlier ones are left out; --json has all.") if left_out else ""
    size = "few" if len(titles) < 4 else "wide" if len(titles) > 6 else None
    table = tag("table", tag("thead", head), tag("tbody", body), class_=size)
    return joined(note, tag("div", table, class_="scroll"))


def _align(column: int, right: Sequence[int]) -> str | None:
    return "number" if column in right else None


def _percent(share: float | None, unknown: str = "unknown") -> str:
    return unknown if share is None else f"{100 * share:.1f} %"
