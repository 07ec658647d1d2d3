"""A pair on its way to disk and back: plain values, and the layout of the .h5."""
