"""What events.jsonl of a run's starts tells: starts, what each did with its time, and the batches of all."""
