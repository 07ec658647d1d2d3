"""The conformance suite under ``MirroredStrategy`` with two logical CPUs, and what one replica does otherwise than no
strategy does, in a process of its own: TensorFlow must know of the CPUs before it begins.

    python -m tests.training.data.on_two_devices [KIND [SITUATION]]

Without a situation, those of the kind in ROWS, and random stops; without a kind, all of those. Prints what failed, and
ends with 1 if anything did.
"""

from __future__ import annotations

import dataclasses
import gc
import random
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

import tensorflow as tf

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

from ..untuned import tune_no_pipeline  # noqa: E402
from . import kinds_of_arrays, kinds_of_tf_data  # noqa: E402
from .conformance import SITUATIONS, Kind, Situation, check_complete, check_identical, random_stops  # noqa: E402

tune_no_pipeline()
ALL = {**kinds_of_arrays.KINDS, **kinds_of_tf_data.KINDS}
# Each kind on two devices, and each situation with one of them or two. Most other pairs of the two are tried
# on one device only (test_conformance.py).
# "tf.data, shuffled" in an epoch is the row of `make test`.
# Where a last batch is not full, Keras' own fit raises on two replicas, without holdfast: with several steps in an
# execution, and with steps_per_epoch where one iterator serves arrays.
ROWS = {
    "arrays": ("in an epoch", "in validation"),
    "holdfast.dataset": ("in the second of two fits", "in validation of the same data", "with steps_per_epoch"),
    "tf.data, shuffled": ("in the second of two fits", "with steps_per_epoch"),
}
STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
ONE_REPLICA = tf.distribute.MirroredStrategy(["CPU:0"])
OF_ONE_REPLICA = ("in validation",)


def check(kind: Kind, situation: Situation, complete: bool) -> bool:
    with TemporaryDirectory() as folder:
        try:
            if complete:
                check_complete(kind, situation, Path(folder), 3)
            else:
                check_identical(kind, situation, Path(folder))
        except AssertionError:
            traceback.print_exc()
            return False
        finally:
            gc.collect()
        return True


def main() -> None:
    kinds, asked = sys.argv[1:2] or list(ROWS), sys.argv[2:3]
    failed = []
    for kind in kinds:
        for name in asked or ROWS[kind]:
            for strategy in (STRATEGY, ONE_REPLICA) if name in OF_ONE_REPLICA else (STRATEGY,):
                situation = dataclasses.replace(SITUATIONS[name], scope=strategy.scope)
                if not check(ALL[kind], situation, complete=False):
                    failed.append(f"{kind}, {name}, {strategy.num_replicas_in_sync} replicas")
        chance = random.SystemRandom().randrange(10**6)
        situation = Situation(random_stops(random.Random(chance)), scope=STRATEGY.scope)
        if not asked and not check(ALL[kind], situation, complete=True):
            failed.append(f"{kind}, each sample once ({chance=})")
    print("\n".join(["FAILED:", *failed]) if failed else "all the same")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
