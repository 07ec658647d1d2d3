"""The position in data that Python code feeds: generators, ``PyDataset``, and what tells its own state."""
