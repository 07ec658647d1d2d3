#!/usr/bin/env bash
# Grain's own state of an interleaved dataset that repeats loses elements from the second repetition on, without an error.
#
# Grain 0.2.18, Python 3.11, November 2026.
#
# Expected: an iterator that gets the state of another one by set_state yields what the other one would have yielded.
# Seen: it does so in the first repetition. In the second, the state's "exhausted" still has the marks of the first one's end.
#   The new iterator takes the sources that are being read for used up, and leaves out what is left of them: here all
#   there is. So a resumed training ends early, or misses data, and nothing says so. An interleave without the repeat, and a
#   repeat over Grain's other transformations, went on exactly.
# Output: elements left after 4 of 18: 14, by the state 14; after 10 of 18: 8, by the state 0 (2026-11-30)
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" grain==0.2.18 numpy==2.4.6
python - 2>errors.txt <<'END'
import sys

import grain


def make():
    sources = [grain.MapDataset.range(start, start + 3).to_iter_dataset() for start in (0, 10, 20)]
    together = grain.experimental.InterleaveIterDataset(sources, cycle_length=3)
    return grain.experimental.RepeatIterDataset(together, num_epochs=2)


def left_and_resumed(done):
    iterator, resumed = iter(make()), iter(make())
    for _ in range(done):
        next(iterator)
    resumed.set_state(iterator.get_state())
    left, again = list(iterator), list(resumed)
    assert again == left[: len(again)]
    return len(left), len(again)


early, late = left_and_resumed(4), left_and_resumed(10)
print(
    f"elements left after 4 of 18: {early[0]}, by the state {early[1]}; after 10 of 18: {late[0]}, by the state {late[1]}"
)
sys.exit((early, late) != ((14, 14), (8, 0)))
END
