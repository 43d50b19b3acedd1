"""What the memory adds to decisions: posts, outcomes, and comparisons of the arms."""
