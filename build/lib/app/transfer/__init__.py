"""Export and import: the memory as a file, and back, byte for byte."""
