"""Redis: keys, indexes, commands. The only package that imports the redis library."""
