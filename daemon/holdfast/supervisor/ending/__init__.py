"""What happens when all is over: what ends the costs, and states that only this machine has."""
