"""Writes train.ipynb: a notebook of three cells that trains.

Environment of the notebook: PACE (seconds that a batch takes).
"""

import json

CELLS = [
    "import os, time\n"
    "os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\n"
    "import keras, numpy as np\n"
    "keras.utils.set_random_seed(4)",
    "x = np.random.default_rng(0).random((384, 6), 'float32')\n"
    "model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, 'relu'), keras.layers.Dense(1)])\n"
    "model.compile('adam', 'mse')\n"
    "pace = float(os.environ.get('PACE', '0'))\n"
    "slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace))",
    "model.fit(x, x.sum(1, keepdims=True), batch_size=32, epochs=3, callbacks=[slow], verbose=0)\n"
    "print('loss', model.evaluate(x, x.sum(1, keepdims=True), verbose=0))",
]

cells = [
    {"cell_type": "code", "execution_count": None, "id": f"c{i}", "metadata": {}, "outputs": [], "source": source}
    for i, source in enumerate(CELLS)
]
kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
with open("train.ipynb", "w") as file:
    json.dump({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}, file)
