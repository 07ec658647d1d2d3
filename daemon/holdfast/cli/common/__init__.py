"""What the commands share: how they show results, and how they find a run."""
