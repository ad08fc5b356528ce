"""The part of the image sampler's steps that has guidance."""

from collections.abc import Sequence
import math


def guided_steps(
  part: Sequence[float], steps: int, guidance: float
) -> tuple[bool, ...]:
  """Returns for each of the S steps whether it has guidance.

  Args:
    part: (first, last), see `maskgit.MaskGITSampler`.
    steps: S, number of steps.
    guidance: guidance scale; 0 guides no step.
  """
  # 1e-6: a third of three steps is one.
  first, last = (math.ceil(end * steps - 1e-6) for end in part)
  return tuple(guidance > 0 and first <= step < last for step in range(steps))


def check(part: Sequence[float], steps: int, guidance: float) -> None:
  """Checks the setting `guided`.

  Args:
    part: see `guided_steps`; two numbers from 0 to 1.
    steps: S, number of steps.
    guidance: guidance scale.

  Raises:
    ValueError: the numbers do not increase, or no step lies between them.
  """
  if len(part) != 2 or part[0] >= part[1]:
    raise ValueError(
      f'guided must be two increasing numbers, got {part}; (0, 1) '
      'guides all steps, guidance=0 none'
    )
  if guidance > 0 and not any(guided_steps(part, steps, guidance)):
    raise ValueError(
      f'guided must contain a step, 0/{steps} to {steps - 1}/{steps}, with '
      f'guidance={guidance:g}, got {part}; guidance=0 guides no step'
    )
