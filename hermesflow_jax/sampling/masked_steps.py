"""Constants and random numbers of the steps of the image sampler."""

from collections.abc import Callable
from collections.abc import Sequence
import math

import jax
import jax.numpy as jnp

# Each scan is compiled.
_MOST_SCANS, _STEPS_PER_SCAN = 3, 4


def most_masked(num_masked: Sequence[int], size: int) -> list[int]:
  """Returns for each step how many of I codes can be masked before it.

  >>> most_masked([14, 11, 6, 0], 16)
  [16, 14, 11, 6]

  Args:
    num_masked: S numbers, see `maskgit.sample_image`.
    size: I, codes per image.
  """
  most = [size]
  for count in num_masked[:-1]:
    # Each step reveals a code, and all steps but the last leave one masked.
    most.append(max(1, min(int(count), most[-1] - 1)))
  return most


def work_of_steps(
  num_masked: Sequence[int] | jax.Array,
  size: int,
  begin: int | jax.Array,
  guided: Sequence[bool],
) -> list[tuple[bool, int]]:
  """Returns the work of steps; those with equal work are compiled once.

  A step computes as many codes as the first step with the same work needs.

  >>> steps = work_of_steps(range(15, -1, -1), 16, 0, (True,) * 16)
  >>> [steps.count((True, most)) for most in (16, 15, 10, 5)]
  [1, 5, 5, 5]

  Args:
    num_masked: S numbers, see `maskgit.sample_image`. Of a traced array, and
      behind a traced `begin`, all I codes are computed.
    size: I, codes per image.
    begin: number of the first step.
    guided: whether each of these steps has guidance.

  Returns:
    (whether the step has guidance, codes that it computes) of each step.
  """
  if isinstance(num_masked, jax.Array) or isinstance(begin, jax.Array):
    return [(is_guided, size) for is_guided in guided]
  most = most_masked(num_masked, size)
  scans = min(_MOST_SCANS, max(1, len(most) // _STEPS_PER_SCAN))
  work, computed = [], {}
  for step, is_guided in enumerate(guided, begin):
    # The first step is compiled by itself.
    share = math.ceil(most[step] * scans / size) if step > begin else None
    work.append((is_guided, computed.setdefault(share, most[step])))
  return work


def masked_places(
  masked: jax.Array, most: int
) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
  """Returns the places of masked codes, and a function that fills them.

  Args:
    masked: bool[I], True at no more than `most` codes.
    most: R, number of places.

  Returns:
    (places int32[R], masked ones first; a function from values [R] at these
    places to values [I], 0 elsewhere).
  """
  order = jnp.argsort(~masked, stable=True)
  inverse = jnp.argsort(order)

  def put(values):
    return jnp.pad(values, (0, masked.size - most))[inverse]

  return order[:most], put


def random_numbers(
  key: jax.Array, steps: int, size: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the random numbers of all steps: a loop would compile them again.

  Args:
    key: random key of an image.
    steps: S, step count.
    size: I, codes per image.

  Returns:
    (uniform numbers in [0, 1) that choose codes float32[S, I], Gumbel noise on
    the confidence float32[S, I]).
  """

  def of_step(key):
    draw_key, noise_key = jax.random.split(key)
    return (
      jax.random.uniform(draw_key, (size,)),
      jax.random.gumbel(noise_key, (size,)),
    )

  return jax.vmap(of_step)(jax.random.split(key, steps))
