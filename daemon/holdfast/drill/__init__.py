"""Rehearsals: a metadata service on loopback, the demo, and what both are made of."""
