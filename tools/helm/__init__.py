"""Renders the Helm chart with Helm's own code, and checks what comes out, without a cluster."""
