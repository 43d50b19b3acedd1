"""Run the command: `python -m coinswarm_memory.command`."""

from coinswarm_memory.command import main

main()
