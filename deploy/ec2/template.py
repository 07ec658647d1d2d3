"""What holdfast.yaml says of its parameters. Read as text: launch needs no YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent / "holdfast.yaml"

FRACTIONS = {"MaxHours", "StallCpuPercent"}
"""The numbers that need not be whole."""
UNSAID = {
    "ManagedPolicies": (
        r"|arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/[^\s,]+",
        "ARNs of policies with ',' between them",
    ),
    "Subnets": (r"subnet-[0-9a-f]+", "subnets' ids with ',' between them, as subnet-0123abcd,subnet-4567cdef"),
    "Vpc": (r"vpc-[0-9a-f]+", "a VPC's id, as vpc-0123abcd"),
}
"""Limits of each of several values that AWS has by the parameter's type, or not at all."""


def parameters() -> set[str]:
    section = TEMPLATE.read_text().partition("\nParameters:\n")[2].partition("\n\nRules:")[0]
    return set(re.findall(r"^  (\w+):$", section, re.MULTILINE))


def fields_of(name: str) -> dict[str, str]:
    """Of a parameter, as they are written."""
    found = re.search(rf"^  {name}:$(.*?)(?=^  \w+:$|^\w)", TEMPLATE.read_text(), re.MULTILINE | re.DOTALL)
    section = found[1] if found else ""
    return dict(re.findall(r"^    (\w+): (\S[^\n]*(?:\n      [^\n]*)*)", section, re.MULTILINE))


def default(name: str) -> str:
    return fields_of(name).get("Default", "").strip('"')


def limit_of(name: str, value: str) -> str | None:
    """What the template allows there, if ``value`` is something else: AWS would say it after all is uploaded."""
    fields = fields_of(name)
    if name in UNSAID:
        pattern, said = UNSAID[name]
        return None if all(re.fullmatch(pattern, each) for each in value.split(",")) else said
    if "AllowedPattern" in fields:
        pattern = json.loads(re.sub(r"\\\n\s*", "", fields["AllowedPattern"]))
        return None if re.fullmatch(pattern, value) else fields.get("ConstraintDescription", f"must match {pattern}")
    if "AllowedValues" in fields:
        allowed = re.findall(r"[^\s\[\],\"]+", fields["AllowedValues"])
        return None if value in allowed else f"one of {', '.join(allowed)}"
    if fields.get("Type") == "Number":
        low, high = (float(fields.get(key, end).split()[0]) for key, end in (("MinValue", "-inf"), ("MaxValue", "inf")))
        form = r"[0-9]+([.][0-9]+)?" if name in FRACTIONS else "[0-9]+"
        kind = "number" if name in FRACTIONS else "whole number"
        fits = re.fullmatch(form, value) is not None and low <= float(value) <= high
        return None if fits else f"a {kind} from {low:g} to {high:g}"
    return None
