"""What layers hold beside variables: the words or bins that ``adapt`` found, and what they compute from variables.

A second start may adapt on another sample, a stream's say. Then the resumed layer must be as the checkpoint's, not as
the script made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...core.errors import InvalidPair, Mismatch, one_line
from ..data.keras_in_use import keras

Say = Callable[[str], None]


class LayerStates:
    """The vocabularies and bins of the layers that have some. Reading a large vocabulary takes a while, so each is read
    once; a layer that adapts anew has a new table.
    """

    def __init__(self) -> None:
        self._read: dict[int, tuple[Any, Any]] = {}

    def read(self, layers: Mapping[str, keras.layers.Layer]) -> dict[str, Any]:
        """Plain values by the layers' paths."""
        found = ((path, self._state_of(layer)) for path, layer in layers.items())
        return {path: state for path, state in found if state is not None}

    def _state_of(self, layer: Any) -> Any:
        if isinstance(layer, keras.layers.Discretization):
            return {"bins": [float(edge) for edge in layer.bin_boundaries or ()]} if layer.num_bins else None
        table = getattr(layer, "lookup_table", None)
        if table is None or isinstance(layer, keras.layers.TextVectorization) or not looks_words_up(layer):
            return None
        known, words = self._read.get(id(layer), (None, None))
        if known is not table:
            words = _words_of(layer)
            self._read[id(layer)] = (table, words)
        return {"words": words}


def restore(layers: Mapping[str, keras.layers.Layer], saved: Mapping[str, Any], say: Say) -> bool:
    """Gives each layer what it had. True if any was changed."""
    changed = False
    states = LayerStates()
    for path, state in saved.items():
        layer = layers.get(path)
        if layer is None:
            name = one_line(str(path))[:200]
            say(f"the checkpoint holds what the layer {name} had learned, and this script has no such layer")
        elif states.read({path: layer}) != {path: state}:
            _set(path, layer, state)
            say(f"the layer {path} has what it learned before the checkpoint, not what this start's adapt found")
            changed = True
    return changed


def refresh(layers: Iterable[keras.layers.Layer]) -> bool:
    """After an assignment: layers that compute with copies of their variables make them anew. True if any did."""
    refreshed = False
    for layer in layers:
        if getattr(layer, "idf_weights_const", None) is not None:
            layer.idf_weights_const = layer.idf_weights.value()
        elif hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()
        else:
            continue
        refreshed = True
    return refreshed


def looks_words_up(layer: Any) -> bool:
    return all(hasattr(layer, name) for name in ("get_vocabulary", "set_vocabulary", "vocabulary_size"))


def words_of(layer: Any) -> dict[str, Any]:
    """As the settings of a lookup layer: its words, and their weights where it has some."""
    inner = getattr(layer, "_lookup_layer", layer)
    words = _words_of(inner)
    if not words or inner.output_mode != "tf_idf":
        return {"vocabulary": words or None}
    weights = inner.idf_weights.numpy()[inner._token_start_index() :][: len(words)]
    return {"vocabulary": words, "idf_weights": [float(weight) for weight in weights]}


def _words_of(layer: Any) -> list[Any]:
    """Without what stands for masked and unknown ones."""
    words = layer.get_vocabulary(include_special_tokens=False)
    return [str(word) if isinstance(word, str) else int(word) for word in words]


def _set(path: str, layer: Any, state: Any) -> None:
    """Raises InvalidPair for what no layer of this kind takes, and Mismatch for what this one does not take."""
    try:
        if "bins" in state:
            layer.bin_boundaries = [float(edge) for edge in state["bins"]]
            return
        words = state["words"]
        if not all(type(word) in (str, int) for word in words):
            raise TypeError("a word is none")
        weights = np.zeros(len(words), "float32") if layer.output_mode == "tf_idf" else None  # a variable of its own
        layer.set_vocabulary(words, weights)
    except RuntimeError as error:  # Keras fixes how many there are once the layer was called
        raise Mismatch(f"the layer {path} cannot have what it had learned before the checkpoint: {error}") from None
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidPair(f"what the layer {path} had learned is malformed: {error}") from None
