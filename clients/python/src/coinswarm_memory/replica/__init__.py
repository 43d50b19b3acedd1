"""One agent's memory in the agent's own process: exact, and kept current by a feed."""
