"""How latency, memory and loading grow with the partition; FLAT against HNSW."""
