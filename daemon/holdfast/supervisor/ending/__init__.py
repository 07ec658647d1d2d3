"""Actions after the run ends: commands, giving the machine back, states that only this machine has."""
