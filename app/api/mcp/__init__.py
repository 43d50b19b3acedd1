"""The Model Context Protocol at /mcp: offers the memory as tools for language models."""
