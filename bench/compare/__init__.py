"""The same data and questions on several databases, each through its own official client."""
