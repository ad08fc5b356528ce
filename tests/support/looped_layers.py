"""Layers of a model run in a loop, whatever the model's settings say."""

import jax
import pytest

from hermesflow_jax.models import phi


def loop_layers(patch: pytest.MonkeyPatch) -> None:
  """Compiles a layer once where it would be repeated for speed.

  The shipped model names 4 copies of its 4 layers: four times as many
  operations to compile. Results are the same.

  Args:
    patch: restores JAX at its end.
  """
  scan = jax.lax.scan

  def looped(*arguments, unroll=1, **options):
    return scan(*arguments, **options)

  patch.setattr(jax.lax, 'scan', looped)
  patch.setattr(phi, 'unrolls_all', lambda config: False)
