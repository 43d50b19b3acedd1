"""What people have, as the service reads it: vectors, times, rows."""
