"""Does an agent's memory help? A verdict against placebos."""
