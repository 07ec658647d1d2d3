"""What ``holdfast run`` puts into the Python processes of a command, so that no script need change with ``--auto``."""
