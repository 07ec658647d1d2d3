"""``holdfast`` with a defect: a PUT that failed is taken for one that succeeded. The checker must catch it."""

from __future__ import annotations

import contextlib
from typing import Any

from holdfast.cli.main import main
from holdfast.core.errors import StoreError
from holdfast.store.s3 import S3Store

_put = S3Store.put


def put_and_hope(store: S3Store, *arguments: Any, **options: Any) -> None:
    with contextlib.suppress(StoreError):
        _put(store, *arguments, **options)


if __name__ == "__main__":
    S3Store.put = put_and_hope  # type: ignore[method-assign]
    main()
