"""Says where a foreign ``.h5`` keeps its arrays. A program apart: its HDF5 library reads bytes that anybody wrote.

Called as ``python -P locate.py FILE`` with a JSON list of names on standard input; answers with a JSON object of name
to ``[offset, dtype, shape]``, or ends with 1 and a line that says what is wrong. A file that crashes the library, or
keeps it busy, ends this process only. No array is read here, so no filter and no link of the file's is followed.
"""

import json
import os
import resource
import sys
from typing import Any

_MEMORY_BYTES = 2 << 30
_CPU_SECONDS = 20


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # load no plugin, whatever the file asks for
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads' stacks would count as memory
    import h5py

    def find(file: Any, name: str) -> list[Any]:
        found = file
        for part in name.split("/"):
            if not isinstance(found, h5py.Group) or not isinstance(found.get(part, getlink=True), h5py.HardLink):
                raise ValueError(f"{name} is not an array inside of the file")
            found = found[part]
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"{name} is not an array inside of the file")
        offset = found.id.get_offset()  # None in chunks, in another file, or where nothing was written
        if offset is None or found.id.get_storage_size() != found.nbytes:
            raise ValueError(f"{name} is not stored in one plain piece")
        return [offset, found.dtype.str, list(found.shape)]

    try:
        names = json.load(sys.stdin)
        with h5py.File(sys.argv[1], "r") as file:
            places = {name: find(file, name) for name in names}
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
    json.dump(places, sys.stdout)


if __name__ == "__main__":
    main()
