"""Contracts on imports that import-linter lacks; pyproject.toml uses them, and ``lint-imports`` checks them.

import-linter's own contract on circles compares siblings only: it does not see a module that imports the package which
it is part of.
"""

from __future__ import annotations

from collections.abc import Iterable

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class Room(Contract):
    """The modules of a ``room`` import one another, what is in ``may_import``, and nothing else of this project.

    ``without`` are folders in it that are rooms of their own. The root package is open to all: it holds the version.
    """

    room = fields.StringField()
    without = fields.ListField(subfield=fields.StringField(), required=False, default=[])
    may_import = fields.ListField(subfield=fields.StringField(), required=False, default=[])

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        room, without, may_import = str(self.room), list(map(str, self.without)), list(map(str, self.may_import))
        faults = [f"there is no module {name}" for name in (room, *without, *may_import) if name not in graph.modules]
        inside = {name for name in graph.modules if is_in(name, [room]) and not is_in(name, without)}
        for importer in inside:
            for imported in graph.find_modules_directly_imported_by(importer) - inside:
                if is_in(imported, [room.partition(".")[0]]) and "." in imported and not is_in(imported, may_import):
                    faults.append(f"{importer} imports {imported}")
        return ContractCheck(kept=not faults, metadata={"faults": sorted(faults)})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for fault in check.metadata["faults"]:
            output.print_error(f"- {fault}")
        output.new_line()


class NoCircle(Contract):
    """No module imports itself by way of others; imports inside functions and for types count."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        circle = find_circle(graph)
        return ContractCheck(kept=not circle, metadata={"circle": circle})

    def render_broken_contract(self, check: ContractCheck) -> None:
        output.print_error(" imports ".join(check.metadata["circle"]))
        output.new_line()


def is_in(module: str, packages: Iterable[str]) -> bool:
    """Is it one of these packages, or in one?"""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def find_circle(graph: ImportGraph) -> list[str]:
    """Modules of which each imports the next, the first and the last are the same; empty if there are none."""
    imports = {name: graph.find_modules_directly_imported_by(name) for name in sorted(graph.modules)}
    while leaves := [name for name, imported in imports.items() if not imported & imports.keys()]:
        for name in leaves:
            del imports[name]
    if not imports:
        return []
    path = [next(iter(imports))]  # whatever is left imports something that is left: a walk along it comes back
    while path.count(path[-1]) == 1:
        path.append(min(imports[path[-1]] & imports.keys()))
    return path[path.index(path[-1]) :]
