"""Groups: several independent Redis, each with the memory of a part of the agents."""
