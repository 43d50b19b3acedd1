"""uvicorn, its protocol and its worker processes."""
