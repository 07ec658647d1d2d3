"""The position in the training's data: one module a kind of data."""
