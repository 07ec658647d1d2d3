"""How a run stands, told outwards: journal, status, metrics, systemd, webhook."""
