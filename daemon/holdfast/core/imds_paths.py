"""The documents of the EC2 instance metadata service that are read, by their path under ``/latest/meta-data/``."""

SPOT = "spot/instance-action"
REBALANCE = "events/recommendations/rebalance"
MAINTENANCE = "events/maintenance/scheduled"
LIFECYCLE = "autoscaling/target-lifecycle-state"
INSTANCE = "instance-id"
REGION = "placement/region"
