"""The training command as a process: its child, guardian, channel, stalls, and commands beside it."""
