"""What Keras 2's ``.h5`` reader wants to know of a model: layers and compile settings, as attributes of the file."""

from __future__ import annotations

import json
from typing import Any

from tf_keras.src.saving.legacy import saving_utils
from tf_keras.src.saving.legacy.saved_model import json_utils

from ...data.keras_in_use import keras


def described(model: keras.Model) -> dict[str, Any]:
    """The attributes, as Keras' own writer makes them, but that the layers' settings are in the newer of the two forms
    that it reads: for the older one it sets an attribute of the live model.

    Raises whatever the layers' ``get_config`` raises.
    """
    about = saving_utils.model_metadata(model)
    return {
        name: json.dumps(value, default=json_utils.get_json_type).encode() if isinstance(value, dict) else value
        for name, value in about.items()
    }
