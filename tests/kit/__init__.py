"""What several tests start, build or read with."""
