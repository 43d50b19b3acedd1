"""Coinswarm Memory: the memory of a swarm of trading agents, on Redis."""

__version__ = "0.1.0"
