"""From the start to a pair in the spool: lease, candidates, fork, and the folder's owner."""
