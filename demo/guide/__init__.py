"""A small agent that lives by its memory, walked through market history (docs/guide/README.md)."""
