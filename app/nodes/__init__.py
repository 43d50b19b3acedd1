"""Redis as a set of nodes: who is master, who may answer, how a command gets there safely."""
