#!/usr/bin/env bash
# After jax.distributed.initialize, SIGTERM neither ends the process nor reaches the handler that Python still shows.
#
# JAX 0.10.2 (CPU), Python 3.11, November 2026.
#
# Expected: a signal handler that the script sets is called, or whoever replaces it does so by Python's `signal` module, so
#   that getsignal tells. Without a handler SIGTERM ends the process.
# Seen: joining a cluster, even of one process, starts JAX's preemption service, which sets a handler of its own beneath
#   Python. signal.getsignal still returns the script's handler, which is never called again, so a job that saves at SIGTERM
#   trains on until it is killed. A script without a handler trains on as well. What helps: to set the handler after
#   joining, or JAX_ENABLE_PREEMPTION_SERVICE=0.
# Output: getsignal shows the handler; SIGTERM before joining: handled; after joining: nothing happens; without a handler:
#   nothing happens; with JAX_ENABLE_PREEMPTION_SERVICE=0: handled (2026-11-30)
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" jax==0.10.2 numpy==2.4.6
cat >join.py <<'END'
import os
import signal
import socket
import sys

import jax

jax.config.update("jax_platforms", "cpu")
handled = []


def handler(number, frame):
    handled.append(number)


def send():
    os.kill(os.getpid(), signal.SIGTERM)
    happened, handled[:] = "handled" if handled else "nothing happens", []
    return happened


if sys.argv[1] == "handler":
    signal.signal(signal.SIGTERM, handler)
    print(send())
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=1, process_id=0)
if sys.argv[1] == "handler":
    print("shows" if signal.getsignal(signal.SIGTERM) is handler else "does not show")
print(send())
END
mapfile -t seen < <(python join.py handler 2>errors.txt)
none=$(python join.py none 2>errors.txt) || true
mapfile -t off < <(JAX_ENABLE_PREEMPTION_SERVICE=0 python join.py handler 2>errors.txt)
line="getsignal ${seen[1]} the handler; SIGTERM before joining: ${seen[0]}; after joining: ${seen[2]}; without a handler: \
${none:-ends the process}; with JAX_ENABLE_PREEMPTION_SERVICE=0: ${off[2]}"
echo "$line"
[ "$line" = "getsignal shows the handler; SIGTERM before joining: handled; after joining: nothing happens; without a \
handler: nothing happens; with JAX_ENABLE_PREEMPTION_SERVICE=0: handled" ]
