"""What core/machine/table.py's table refers to: one rule for each phase and event, by theme."""
