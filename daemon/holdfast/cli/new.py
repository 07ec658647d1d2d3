"""``holdfast new``: allots the next run id."""

from __future__ import annotations

from typing import Any

import click

from ..core.errors import SettingsError
from ..core.runs import RunId, check_name
from ..store.catalog import allot, list_runs
from .common import show
from .common.shared import as_json_option, patient_store
from .options import config_option, store_options


@click.command()
@config_option
@store_options
@as_json_option
@click.argument("name")
def new(name: str, as_json: bool, **settings: Any) -> int:
    """Allot the next run id for NAME, once, and print it: 'holdfast run --run ID' then trains in it."""
    if RunId.parse(name) is not None:
        raise SettingsError(f"{name!r} is a run's id: give its name alone; the number is allotted")
    check_name(name, "NAME")
    store = patient_store(settings)
    run = allot(store, name, list_runs(store), join=False)
    if as_json:
        show.as_json({"store": store.uri, "run": str(run), "number": run.number, "name": run.name})
    else:
        show.out(str(run))
    return 0
