"""Each row of a table is used, and each parameter has a row and goes back."""

import collections
import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conversions import clip as clip_conversion
from conversions import magvit as magvit_conversion
from conversions import showo as showo_conversion
from conversions import table
from hermesflow_jax import vocab as vocab_lib
from hermesflow_jax.models import clip
from hermesflow_jax.models import magvit
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo

VOCAB = vocab_lib.Vocab(50295, 8192, 50256)
PLAIN = showo.ShowOConfig(VOCAB, phi.PhiConfig())
WITH_CLIP = dataclasses.replace(PLAIN, clip_width=1024)

# name: (table, full-size model, millions of parameters)
FULL = {
  'showo': (
    showo_conversion.rows_of(PLAIN),
    lambda: showo.ShowO(PLAIN, rngs=nnx.Rngs(0)),
    1_448.2,
  ),
  'with_clip': (
    showo_conversion.rows_of(WITH_CLIP),
    lambda: showo.ShowO(WITH_CLIP, rngs=nnx.Rngs(0)),
    1_454.5,
  ),
  'magvitv2': (
    magvit_conversion.TABLE,
    lambda: magvit.Magvit(magvit.SHOW_O, nnx.Rngs(0)),
    95.4,
  ),
  'clip_vision': (
    clip_conversion.TABLE,
    lambda: clip.Clip(clip.ClipConfig(), rngs=nnx.Rngs(0)),
    303.5,
  ),
}


@pytest.fixture(params=FULL)
def full(request):
  """(table, abstract full-size model, millions of parameters)."""
  rows, make, millions = FULL[request.param]
  return rows, nnx.eval_shape(make), millions


def test_each_row_is_used(full):
  rows, model, _ = full
  assert table.unused_rows(model, rows) == []


def test_each_parameter_is_one_or_more_tensors_of_its_size(full):
  rows, model, millions = full
  found = table.entries(model, rows)
  size = lambda shapes: sum(int(np.prod(s.shape)) for s in shapes)
  assert size(found.values()) == size(jax.tree.leaves(nnx.state(model)))
  assert round(size(found.values()) / 1e6, 1) == pytest.approx(
    millions, abs=0.1
  )


def test_no_tensor_has_two_rows(full):
  rows, _, _ = full
  names = collections.Counter(row.torch for row in rows)
  assert max(names.values()) == 1


@pytest.mark.parametrize('move', table.MOVES)
def test_each_move_is_undone_by_its_inverse(move):
  there, back = table.MOVES[move]
  shape = (2, 3, 1, 1) if move == 'pointwise' else (2, 3, 4, 5)
  array = np.random.default_rng(0).normal(size=shape)
  if move == 'transpose':
    array = array[..., 0, 0]
  np.testing.assert_array_equal(back(there(array)), array)


@pytest.mark.parametrize(
  'line, said',
  [
    ('a.* | b.*.* | copy', 'as many'),
    ('a.*.* | b | copy', 'as many'),
    ('a | b | turn', 'move wants'),
  ],
)
def test_a_row_that_means_nothing_is_refused(line, said):
  with pytest.raises(ValueError, match=said):
    table.parse(line)


def test_a_parameter_without_a_row_is_named():
  class Two(nnx.Module):
    def __init__(self):
      self.a = nnx.Param(jnp.zeros(2))
      self.b = nnx.Param(jnp.zeros(2))

  rows = table.parse('x | a | copy')
  with pytest.raises(ValueError, match='no row for jax path b'):
    table.to_jax({'x': np.zeros(2, np.float32)}, rows, nnx.eval_shape(Two))
  with pytest.raises(ValueError, match='no row for jax path b'):
    table.to_torch(Two(), rows)
