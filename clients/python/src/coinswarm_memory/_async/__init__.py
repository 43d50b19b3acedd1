"""The client on asyncio. The synchronous one is generated from it (tools/generate_sync.py)."""
