"""The public JSON: what a request may say, and what an answer says."""
