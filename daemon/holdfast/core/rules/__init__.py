"""What core/machine.py's table refers to: one rule for each phase and event, by theme."""
