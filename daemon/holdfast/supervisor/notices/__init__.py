"""Notices of an interruption: the instance metadata service, and the thread that watches it."""
