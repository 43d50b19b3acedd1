"""What an agent was answered, by chance, and what came of what it then did."""
