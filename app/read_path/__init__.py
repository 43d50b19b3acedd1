"""The path of a question to Redis, in stages that can each be left out."""
