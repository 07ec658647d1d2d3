"""What somebody who can write to the bucket could put there: pairs with right checksums and other insides.

Each is harmless to whatever reads it, and is still what holdfast must refuse.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from holdfast.core import restricted_pickle
from holdfast.core.checkpoint_name import CheckpointName

Edit = Callable[[dict[str, Any]], Any]


class Forger:
    """Adds pairs to a run's folder in a directory store, each newer than all before, made after the newest real one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        real = [CheckpointName.of_manifest_file(path.name) for path in folder.glob("model-*.json")]
        self.model = max((name for name in real if name is not None), key=lambda name: name.order)
        self.h5 = self._file(self.model, "h5").read_bytes()
        self.pkl = self._file(self.model, "pkl").read_bytes()
        self.manifest: dict[str, Any] = json.loads(self._file(self.model, "json").read_bytes())
        self._save = self.model.save

    def plant(
        self,
        *,
        h5: bytes | None = None,
        pkl: bytes | None = None,
        edit: Edit = lambda manifest: manifest,
        raw: Callable[[bytes], bytes] = lambda data: data,
        name: Mapping[str, int] | None = None,
    ) -> CheckpointName:
        """``edit`` changes the manifest's document, or returns another; ``raw`` changes its bytes."""
        self._save += 1
        given = {"epoch": self.model.epoch, "step": self.model.step, **(name or {})}
        made = CheckpointName(**given, loss=self.model.loss, incarnation=self.model.incarnation, save=self._save)
        data = {"h5": self.h5 if h5 is None else h5, "pkl": self.pkl if pkl is None else pkl}
        for part, content in data.items():
            self._file(made, part).write_bytes(content)
        document = {**self.manifest, "name": str(made), "step": made.step, "epoch": made.epoch, "save": made.save}
        document["files"] = {
            part: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for part, content in data.items()
        }
        edited = edit(document)
        text = json.dumps(document if edited is None else edited).encode()
        self._file(made, "json").write_bytes(raw(text))
        return made

    def facts(self, edit: Edit) -> bytes:
        """The real pair's ``.pkl`` with other values."""
        document = restricted_pickle.loads(self.pkl)
        edited = edit(document)
        return restricted_pickle.dumps(document if edited is None else edited)

    def without_offsets(self, *names: str) -> bytes:
        """A ``.pkl`` as older versions wrote it: where the arrays stand is for the HDF5 library to find."""

        def edit(document: dict[str, Any]) -> None:
            for entry, name in zip(document["variables"], names, strict=False):
                entry["h5"] = name
            for entry in document["variables"]:
                entry.pop("at", None)

        return self.facts(edit)

    def _file(self, name: CheckpointName, part: str) -> Path:
        return self.folder / name.file(part)


def of_a_class() -> bytes:
    """A pickle of something that is not a plain value, and harmless."""
    return pickle.dumps({"format": 1, "position": OrderedDict(epoch=0)}, protocol=4)


def deep() -> bytes:
    value: Any = 1
    for _ in range(restricted_pickle.MAX_DEPTH + 1):
        value = [value]
    return pickle.dumps(value, protocol=4)


def h5_file(fill: Callable[[h5py.File], Any]) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def no_place(document: dict[str, Any]) -> None:
    """Where in its buffer NumPy's generator is said to be is no number."""
    name, key, _, *rest = document["random"]["numpy"]
    document["random"]["numpy"] = (name, key, "here", *rest)


def _unwritten(file: h5py.File) -> None:
    file.create_dataset("arrays/0", shape=(100,), dtype="f8")


def _compressed(file: h5py.File) -> None:
    file.create_dataset("arrays/0", data=np.zeros(100), compression="gzip")


def _in_chunks(file: h5py.File) -> None:
    file.create_dataset("arrays/0", data=np.zeros(100), chunks=(10,))


def _external_link(file: h5py.File) -> None:
    file["arrays/0"] = h5py.ExternalLink("other.h5", "/x")


def _external_group(file: h5py.File) -> None:
    file["arrays"] = h5py.ExternalLink("other.h5", "/")


def _soft_link(file: h5py.File) -> None:
    file["there"] = np.zeros(100)
    file["arrays/0"] = h5py.SoftLink("/there")


def _soft_group(file: h5py.File) -> None:
    file["there/0"] = np.zeros(100)
    file["arrays"] = h5py.SoftLink("/there")


def _external_storage(file: h5py.File) -> None:
    file.create_dataset("arrays/0", shape=(100,), dtype="u1", external=[("other.bin", 0, 100)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(100,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(100,))
    file.create_virtual_dataset("arrays/0", layout)


def _references(file: h5py.File) -> None:
    target = file.create_dataset("there", data=np.zeros(4))
    file.create_dataset("arrays/0", data=[target.ref, file.ref], dtype=h5py.ref_dtype)


def _texts(file: h5py.File) -> None:
    file.create_dataset("arrays/0", data=["a", "b" * 1000], dtype=h5py.string_dtype())


def _ragged(file: h5py.File) -> None:
    dataset = file.create_dataset("arrays/0", shape=(2,), dtype=h5py.vlen_dtype("f8"))
    dataset[0] = np.zeros(5)


def _records(file: h5py.File) -> None:
    file.create_dataset("arrays/0", data=np.zeros(3, [("a", "f8"), ("b", "i4")]))


def _opaque(file: h5py.File) -> None:
    file.create_dataset("arrays/0", data=np.zeros(3, "V100"))


def _group(file: h5py.File) -> None:
    file.create_group("arrays/0")


def _no_group(file: h5py.File) -> None:
    file["arrays"] = np.zeros(3)


def _another_name(file: h5py.File) -> None:
    file["elsewhere"] = np.zeros(100)


H5: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "an array that was never written": (_unwritten, "one plain piece"),
    "compressed zeros": (_compressed, "one plain piece"),
    "an array in chunks": (_in_chunks, "one plain piece"),
    "a link to another file": (_external_link, "not an array inside of the file"),
    "a group in another file": (_external_group, "not an array inside of the file"),
    "a soft link": (_soft_link, "not an array inside of the file"),
    "a group behind a soft link": (_soft_group, "not an array inside of the file"),
    "storage in another file": (_external_storage, "one plain piece"),
    "a virtual dataset": (_virtual, "one plain piece"),
    "object references": (_references, "not a number's"),
    "texts of any length": (_texts, "one plain piece"),
    "arrays of any length": (_ragged, "one plain piece"),
    "records": (_records, "not a number's"),
    "opaque bytes": (_opaque, "not a number's"),
    "a group for an array": (_group, "not an array inside of the file"),
    "an array for a group": (_no_group, "not an array inside of the file"),
    "no such array": (_another_name, "not an array inside of the file"),
}
