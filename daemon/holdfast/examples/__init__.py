"""Training scripts that a user could have written: they use holdfast's public names only."""
