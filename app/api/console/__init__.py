"""The console's files, and the routes that it asks beside those of the memories."""
