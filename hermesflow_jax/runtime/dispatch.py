"""How many steps of training the host may start before one ends.

On a CPU, XLA takes 32 programs; a launch beyond them waits for the oldest, and
holds one thread of a pool that has a thread per device or core. If the host
runs ahead so far, such launches can hold all threads while a sum over devices
in the oldest program waits for a thread, and neither ever ends. Other platforms
queue programs without threads.
"""

import jax

# A step is a few programs, e.g. two encoders of images and the update.
_ON_CPUS = 2


def max_steps_in_flight() -> int | None:
  """Returns how many steps may be unfinished at a time; None for any number."""
  return _ON_CPUS if jax.default_backend() == 'cpu' else None
