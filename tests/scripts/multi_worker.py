"""A loop of one's own under TensorFlow's MultiWorkerMirroredStrategy, which joins the cluster by TF_CONFIG."""

import hashlib
import json
import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

import holdfast

rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    weights, momenta = tf.Variable(tf.ones((4, 1))), tf.Variable(tf.zeros((4, 1)))
x = np.random.default_rng(rank).random((640, 4)).astype(np.float32)
y = x.sum(1, keepdims=True)
np.random.seed(rank)


def replica_step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((x @ weights - y) ** 2)
    gradient = tf.distribute.get_replica_context().all_reduce("sum", tape.gradient(loss, weights))
    momenta.assign(0.9 * momenta + gradient)
    weights.assign_sub(0.01 * momenta)


@tf.function
def train_step(x, y):
    strategy.run(replica_step, args=(x, y))


STEPS = 60
with holdfast.session(every=16) as run:
    if run.resume_from:
        weights.assign(run.resume_from.arrays["weights"])
        momenta.assign(run.resume_from.arrays["momenta"])
    for step in range(run.step, STEPS):
        chosen = np.random.permutation(len(x))[:16]  # each rank draws from its own data
        train_step(tf.constant(x[chosen]), tf.constant(y[chosen]))
        time.sleep(float(os.environ.get("PACE", "0.05")))
        if run.boundary(step + 1) or step + 1 == STEPS:
            run.commit({"weights": weights.numpy(), "momenta": momenta.numpy()})
digest = hashlib.sha256(weights.numpy().tobytes() + momenta.numpy().tobytes()).hexdigest()
print(f"rank {rank} done {digest}", flush=True)
