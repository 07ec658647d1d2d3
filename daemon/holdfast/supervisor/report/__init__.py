"""Reports of a run to the outside: journal, status, metrics, systemd, webhook."""
