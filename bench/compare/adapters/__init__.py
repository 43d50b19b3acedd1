"""One small module for each database. Its client library is imported when it is started."""
