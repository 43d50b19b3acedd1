"""Reinforcement learning from a memory that survives and is shared: a replay server's client.

with TrajectoryWriter(agent, n_step=3) as writer:
    writer.append(state, action="buy", reward=0.01, next_state=following)
buffer = ReplayBuffer(agent, min_size=1000, samples_per_insert=8)
batch = buffer.sample(256)
batch.update_priorities(errors)
"""

from coinswarm_memory.rl.buffer import Batch as Batch
from coinswarm_memory.rl.buffer import ReplayBuffer as ReplayBuffer
from coinswarm_memory.rl.buffer import Sequences as Sequences
from coinswarm_memory.rl.limiter import RateLimiter as RateLimiter
from coinswarm_memory.rl.limiter import TooFewInserts as TooFewInserts
from coinswarm_memory.rl.trajectory import TrajectoryWriter as TrajectoryWriter
from coinswarm_memory.rl.trajectory import action_numbers as action_numbers
