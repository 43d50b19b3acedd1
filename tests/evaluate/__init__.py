"""Does the memory help?"""
