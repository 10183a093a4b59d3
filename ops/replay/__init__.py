"""A recorded shift played through the road, into a tenant that is there for nothing else."""
