#!/usr/bin/env bash
# Saving a tf.data iterator while `snapshot` writes leaves a finished snapshot that no later process can read.
#
# TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: tf.train.Checkpoint of an iterator reads its position and changes nothing. `snapshot` writes its files in the
#   first pass, and each later run reads those.
# Seen: the first pass goes on and ends without an error, with the checkpoint and without, and the folder says that the
#   snapshot is complete. But after a checkpoint in the middle, each later run fails at its first element with an
#   InternalError, "Expected 2 components but got 0", until the folder is deleted. A training that is saved during its first
#   epoch, as all with checkpoints of their data are, so ruins its cache for good.
# Output: first pass: 6 of 6 elements, with a checkpoint 6 of 6; later runs: 6 6, after a checkpoint InternalError InternalError
#   (2026-11-30)
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 numpy==2.4.6
cat >run.py <<'END'
import sys

import tensorflow as tf

folder, save_at = sys.argv[1], int(sys.argv[2])
iterator = iter(tf.data.Dataset.range(6).snapshot(folder))
seen = 0
try:
    for _ in iterator:
        seen += 1
        if seen == save_at:
            tf.train.Checkpoint(iterator=iterator).save(folder + "-position")
    print(seen)
except tf.errors.OpError as error:
    print(type(error).__name__)
END
run() { python run.py "$1" "$2" 2>>errors.txt; }
plain=$(run plain 0) saved=$(run saved 3)
line="first pass: $plain of 6 elements, with a checkpoint $saved of 6; later runs: $(run plain 0) $(run plain 0), after a \
checkpoint $(run saved 0) $(run saved 0)"
echo "$line"
[ "$line" = "first pass: 6 of 6 elements, with a checkpoint 6 of 6; later runs: 6 6, after a checkpoint InternalError \
InternalError" ]
