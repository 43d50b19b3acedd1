"""Real market history as a swarm's memory: fill a running service, ask it about a later year."""
