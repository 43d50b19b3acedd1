"""The commands of `python -m app`, one file each."""
