"""Programs that look for faults in a running service."""
