"""The Model Context Protocol at /mcp: the memory as tools of language models."""
