"""A package with a training command of its own."""
