"""The console's files, and the routes that it uses besides those of the memories."""
