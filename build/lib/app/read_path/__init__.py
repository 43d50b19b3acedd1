"""The way of a question to Redis, in stages that each can be left out."""
