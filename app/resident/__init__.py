"""Copies of agents' memories in this process. They answer searches, exactly."""
