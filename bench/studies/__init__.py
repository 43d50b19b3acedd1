"""Studies of single parts: what a stage of the read path buys, how fast batches are stored."""
