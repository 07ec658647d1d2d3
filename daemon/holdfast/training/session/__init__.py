"""One process's part in a run: open, supervised, standalone, and the API for custom loops."""
