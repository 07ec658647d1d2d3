"""Every kind of event in events.jsonl, what it means and what facts it brings. docs/events.md is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """``facts`` are the fields besides ``at``, ``event``, ``text`` and ``warning``."""

    meaning: str
    facts: dict[str, str] = field(default_factory=dict)


_CHECKPOINT = {"checkpoint": "its name"}
_REASON = {"reason": "what it was saved for: `epoch`, `interval`, a notice, a signal …"}
_WARNED = "a warning"

SECTIONS: dict[str, dict[str, Kind]] = {
    "The run": {
        "lease": Kind("the run's lease is held", {"run": "run id", "incarnation": "the lease's number"}),
        "last-heartbeat": Kind(
            "the last holder of the lease did not give it back: what its lease said at last",
            {
                "incarnation": "the number of its lease",
                "seen": "when that was, in seconds since 1970",
                "step": "batches done in all; null before its first batch",
                "executed": "batches executed in its work dir so far; null before its first batch",
                "validated": "seconds of validation in its work dir so far; null before its first batch",
            },
        ),
        "earlier-starts": Kind(
            "what the run's earlier starts did, as far as the store has their events",
            {
                "starts": "how many",
                "executed": "batches that they executed, repeated ones too",
                "base": "the step at which the first of them began",
                "interruptions": "how many of them were interrupted, or ended without a word",
                "began": "when the first of them began, in seconds since 1970",
                "ended": "when the last of them was last heard of",
                "seconds": "what their time went into, by kind, as in `holdfast report --json`",
            },
        ),
        "machine": Kind(
            "what this start runs on",
            {
                "host": "its name",
                "disk": "the random id of the run's folder there",
                "ranks": "how many machines train together; the others' names come with `gang-joined`",
                "cpu": "its model",
                "versions": "of Python, holdfast and the framework",
                "log": "bytes of log.txt that earlier starts here wrote",
            },
        ),
        "waiting": Kind("nothing is started yet: another machine holds the lease, or an interruption notice stands"),
        "restored": Kind(
            "the newest valid checkpoint is in the work dir",
            {**_CHECKPOINT, "local": "true if it was there already"},
        ),
        "fresh": Kind("the run has no checkpoint: it starts from the beginning"),
        "forked": Kind("`--from` copied a checkpoint into the run", _CHECKPOINT),
        "forked-before": Kind("`--from` was done before, and is not done again"),
        "earlier-here": Kind(
            f"{_WARNED}: the work dir has checkpoints of which it isn't known that they are this run's; they are used",
            {"checkpoints": "how many of them the store lacks"},
        ),
        "elsewhere": Kind(f"{_WARNED}: a new run begins, and the work dir has one of that name that another store has"),
        "passed-over": Kind(f"{_WARNED}: a checkpoint that is damaged, not finite or unusable was passed over"),
        "origin-changed": Kind(
            f"{_WARNED}: command, script, versions or CPU are not those of the checkpoint", {"changes": "a list"}
        ),
        "phase": Kind(
            "the supervisor entered a phase",
            {
                "phase": "`restoring`, `starting`, `running`, `draining`, `flushing`, `backoff`, `done`, `failed`",
                "seconds_left": "what a stop may still take; null where there is no end",
            },
        ),
        "complete": Kind("the run was complete already", {"run": "run id, where it is known"}),
        "closing": Kind(
            "all is over and the last of it is being stored: the last event that the store has of a start",
            {"outcome": "`complete`, `stopped` or `failed`; a state that cannot be stored may still change it"},
        ),
        "exit": Kind("the supervisor is about to exit", {"code": "its exit code"}),
    },
    "The command": {
        "standing-by": Kind(
            "its interpreter was started while another machine has the run: it imports, and its script does not begin",
            {"pid": "its process id", "packages": "what it imports"},
        ),
        "started": Kind(
            "the command was started",
            {
                "pid": "its process id",
                "command": "a list of words",
                "executed": "batches executed in this work dir before",
                "validated": "seconds of validation in this work dir before",
            },
        ),
        "training-began": Kind(
            "its training loop began",
            {
                "epochs": "how many it is to do; null if unknown",
                "batches": "how many an epoch has; null if unknown",
                "fit": "its number among the trainings of the run, from 1 on",
            },
        ),
        "progress": Kind(
            "where the training stands: every 5 s at first, later every twentieth of its time, and at its end",
            {
                "epoch": "epochs done",
                "batch": "batches done in the next one",
                "step": "batches done in all",
                "executed": "batches executed in this work dir so far",
                "validated": "seconds of validation in this work dir so far",
                "epochs": "how many the training is to do; null if unknown",
                "batches": "how many an epoch has; null if unknown",
                "batch_seconds": "that a batch takes, validation and all; null if unknown",
                "seconds_left": "until all epochs are done; null if unknown",
                "fit": "the number of the training among those of the run, from 1 on",
            },
        ),
        "no-training": Kind(f"{_WARNED}: the command has run for minutes, and no training of it reported to holdfast"),
        "training-finished": Kind("its training loop did all its epochs"),
        "exited": Kind(
            "the command ended",
            {
                "code": "its exit code, 128 + n for signal n",
                "how": "what ended it: exit code, signal, out of memory",
                "orphans": "processes below it that lost their parent and were reaped",
                "executed": "batches executed in this work dir so far",
                "validated": "seconds of validation in this work dir so far",
                "last_lines": "the end of what it printed",
            },
        ),
        "crashed": Kind(f"{_WARNED}: it failed, and is started again after a while"),
        "script": Kind(f"{_WARNED} from holdfast's side in the script"),
        "stalled": Kind(
            f"{_WARNED}: it hangs (`--stall-timeout`), and is killed unless it does a batch now",
            {"seconds": "without a sign of life"},
        ),
        "stacks": Kind(
            "what it is made of while it hangs",
            {
                "processes": "a list of `pid`, `name`, `status` and `threads` (a count), 50 at most",
                "asked": "how many of them were asked to write the stacks of their threads to the log",
            },
        ),
        "terminating": Kind(f"{_WARNED}: it did not stop in time and was sent SIGTERM"),
        "killing": Kind(f"{_WARNED}: it did not end and was sent SIGKILL"),
        "no-thread": Kind(f"{_WARNED}: this machine has no thread to give now; it is tried again"),
        "failed": Kind("an error: it kept failing, could not be prepared, or holdfast has a defect"),
    },
    "Checkpoints": {
        "saved": Kind(
            "a pair is in the work dir",
            {
                **_CHECKPOINT,
                "seconds": "from the snapshot until its files were whole",
                **_REASON,
                "batch": "batches done in the epoch",
                "metrics": "those of the manifest; null for what is not finite",
                "validated": "seconds of validation in this work dir so far",
                "fit": "as in `training-began`",
            },
        ),
        "interval": Kind(
            "what `--every auto` decided, by measurement",
            {"seconds": "between two checkpoints", "cost": "the seconds of training that one costs"},
        ),
        "stored": Kind(
            "a pair is in the store, manifest and all",
            {
                **_CHECKPOINT,
                "bytes": "of both files",
                "sent": "those of them that this machine sent",
                "copied": "those that the store copied itself from an earlier pair, as they had not changed",
                "seconds": "that storing it took",
                **_REASON,
            },
        ),
        "no-copies": Kind(
            "the store does not copy what has not changed since an earlier pair: from now on all is sent"
        ),
        "skipped": Kind("a pair was not stored because a newer one was there first", {**_CHECKPOINT, **_REASON}),
        "left-behind": Kind(f"{_WARNED}: a pair could not make it before a deadline and stays in the work dir"),
        "pair-lost": Kind(f"{_WARNED}: a pair can never be stored: it is damaged or its name is taken"),
        "save-failed": Kind(f"{_WARNED}: the script could not write a pair, or did not commit its last batches"),
        "unstored": Kind(f"{_WARNED}: the command ended without storing its last state"),
        "nothing-new": Kind(
            f"{_WARNED}: the command ended well and stored nothing new, though `--extend` reopened the run"
        ),
        "unprotected": Kind(f"{_WARNED}: a process of the command trains without a session, so nothing of it is saved"),
        "no-checkpoint": Kind(f"{_WARNED}: the command ended well and stored nothing at all"),
        "not-stored": Kind(
            f"{_WARNED}: the store refused a log or the options for good at the end; they were given up"
        ),
        "unmarked": Kind(f"{_WARNED}: the store refuses for good to have the complete run marked so"),
        "prune-failed": Kind(
            f"{_WARNED}: old checkpoints cannot be removed from the store, or none has the metric of `--keep-best`"
        ),
    },
    "Several machines": {
        "gang-joined": Kind(
            "a rank has joined rank 0 (in that one's events), or this one has",
            {"rank": "its number", "host": "its host name", "address": "of the other side"},
        ),
        "gang-waits": Kind("rank 0 waits for others, which begin together with it", {"ranks": "their numbers"}),
        "gang-lost": Kind(
            f"{_WARNED}: the machine of a rank, or the connection to it, is lost",
            {"rank": "its number", "host": "its host name"},
        ),
        "gang-broken": Kind(f"{_WARNED}: a rank is lost or failed, and the commands of the others are ended"),
        "gang-late": Kind(f"{_WARNED}: a rank is not where the others are, or not ready to begin"),
    },
    "Interruptions": {
        "notice": Kind(
            "an interruption notice or a rebalance recommendation arrived",
            {
                "what": "as in the text for people",
                "seconds": "until the machine goes away; null if unknown",
                "source": "who says so: `aws`, `gcp`, `azure`, or `hand` for `holdfast notice`",
            },
        ),
        "notice-over": Kind("the notice of that source stands no longer", {"source": "as above"}),
        "rebalance": Kind("what is done about a rebalance recommendation"),
        "maintenance": Kind("maintenance is scheduled, and will be drained for"),
        "stopping": Kind("a stop began: a notice, a signal, or the command's own doing"),
        "hurrying": Kind(f"{_WARNED}: a second signal; the command is not waited for any longer"),
        "abandoned": Kind("a deadline or a third signal ended everything; a warning if pairs are not in the store"),
        "no-metadata": Kind(
            "there is no instance metadata service: only signals and `holdfast notice` can announce an interruption"
        ),
        "metadata-refused": Kind("what answers at the metadata service's address gives no token, and this is no EC2"),
        "metadata-warning": Kind(f"{_WARNED}: the metadata service does not answer, or not sensibly"),
    },
    "The store": {
        "store-away": Kind(f"{_WARNED}: the store failed; it is tried again"),
        "conditions": Kind(f"{_WARNED}: the store does not support conditional writes; what protection is left"),
        "fenced": Kind("an error: the lease was taken over; nothing more is stored"),
    },
    "Artifacts": {
        "artifacts-restored": Kind(
            "what the store had was brought before the command started",
            {"files": "how many", "bytes": "of all of them", "seconds": "that it took"},
        ),
        "artifacts-later": Kind("the rest is brought while the command runs", {"files": "how many are left"}),
        "artifacts-stored": Kind(
            "a round of changes is in the store, index and all",
            {"files": "how many were sent", "bytes": "of all of them", "removed": "how many were removed there"},
        ),
        "artifacts-left-out": Kind(
            f"{_WARNED}: files that are not synced",
            {"paths": "the first 100 of them", "count": "how many", "reason": "why"},
        ),
        "artifact-doubtful": Kind(
            f"{_WARNED}: a restored file differs from the index, or was being written when it was stored",
            {"path": "the file"},
        ),
    },
    "After the end": {
        "held-outside": Kind(
            f"{_WARNED}: a machine outside of this Auto Scaling group has the run; the group wants none"
        ),
        "scaled-in": Kind("the machine was given back to its Auto Scaling group (`--on-complete`, `--on-failure`)"),
        "kept": Kind(
            f"{_WARNED}: the last state is in this machine's work dir alone, so the machine is not given back"
        ),
        "let-go": Kind("the action of the group's termination hook was completed (`--lifecycle-hook`)"),
        "on-notice": Kind("the command of `--on-notice` ended well"),
        "on-notice-failed": Kind(f"{_WARNED}: the command of `--on-notice` failed, or was ended as it took too long"),
        "ending": Kind("the command of `--on-complete` or `--on-failure` ended well"),
        "ending-failed": Kind(f"{_WARNED}: one of these could not be done, so the machine may continue to cost money"),
    },
    "Notifications": {
        "notify-failed": Kind(f"{_WARNED}: `--notify-url` could not be reached"),
        "ping-failed": Kind(f"{_WARNED}: `--ping-url` could not be reached; said once until it can"),
    },
}

KINDS: dict[str, Kind] = {name: kind for section in SECTIONS.values() for name, kind in section.items()}


def as_markdown() -> str:
    """The tables of docs/events.md."""
    parts = []
    for title, kinds in SECTIONS.items():
        lines = [f"## {title}", "", "| event | what happened | facts |", "| --- | --- | --- |"]
        for name, kind in kinds.items():
            facts = "<br>".join(f"`{fact}`: {what}" for fact, what in kind.facts.items())
            lines.append(f"| `{name}` | {kind.meaning} | {facts} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
