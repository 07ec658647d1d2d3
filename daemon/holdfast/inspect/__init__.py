"""What only commands use: checking, fetching and pruning the pairs of a store."""
