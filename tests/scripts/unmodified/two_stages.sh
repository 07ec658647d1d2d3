# Trains in two stages, one script after the other. Environment: PYTHON (the interpreter), PACE.
set -euo pipefail
here=$(dirname "$0")
"$PYTHON" "$here/py_dataset.py" | tee stage-1.log
timeout 600 "$PYTHON" "$here/custom_train_step.py"
