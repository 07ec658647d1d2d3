"""The folder that ``holdfast run`` puts on PYTHONPATH."""
