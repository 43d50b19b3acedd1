"""The arithmetic of estimates: pure functions of numbers, no storage and no clock."""
