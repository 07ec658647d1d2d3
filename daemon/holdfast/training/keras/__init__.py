"""Keras: the Resume callback, one fit, variables, callbacks' state, random state."""
