"""Hostile names, malformed requests and the whole contract, sent to a running service."""
