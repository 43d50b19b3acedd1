"""How an agent's recalls were answered, at random, and the outcomes of its decisions."""
