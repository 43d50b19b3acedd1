"""A small agent that trades by its memory, walked through market history (docs/guide/README.md)."""
