"""Completes the OpenAPI document with what FastAPI cannot derive by itself."""
