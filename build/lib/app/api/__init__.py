"""HTTP: routes, what they need, and how errors leave the service."""
