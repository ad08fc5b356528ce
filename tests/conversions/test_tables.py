"""Each row of a table is used, and each parameter has a row and goes back."""

import collections
import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conversions import weight_rows
from conversions import weight_table
from conversions.tables import bert_table
from conversions.tables import clip_model_table
from conversions.tables import clip_table
from conversions.tables import inception_table
from conversions.tables import magvit_table
from conversions.tables import mpnet_table
from conversions.tables import showo_table
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import bert
from hermesflow_jax.models import clip
from hermesflow_jax.models import clip_scores
from hermesflow_jax.models import inception
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import mpnet
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.sequences import vocabulary

VOCAB = vocabulary.Vocab(50295, 8192, 50256)
PLAIN = showo.ShowOConfig(VOCAB, phi.PhiConfig())
WITH_CLIP = dataclasses.replace(PLAIN, clip_width=1024)

# name: (table, full-size model, millions of parameters)
FULL = {
  'showo': (showo_table.rows_of(PLAIN), (showo.ShowO, PLAIN), 1_448.2),
  'with_clip': (
    showo_table.rows_of(WITH_CLIP),
    (showo.ShowO, WITH_CLIP),
    1_454.5,
  ),
  'magvitv2': (magvit_table.TABLE, (magvit.Magvit, magvit_config.SHOW_O), 95.4),
  'clip_vision': (clip_table.TABLE, (clip.Clip, clip.ClipConfig()), 303.5),
  # The sizes that the paper's checkpoints have.
  'clip_b_32': (
    clip_model_table.TABLE,
    (clip_scores.ClipModel, clip_scores.VIT_B_32),
    151.3,
  ),
  'clip_l_14': (
    clip_model_table.TABLE,
    (clip_scores.ClipModel, clip_scores.VIT_L_14),
    427.6,
  ),
  'clip_l_14_336': (
    clip_model_table.TABLE,
    (clip_scores.ClipModel, clip_scores.VIT_L_14_336),
    427.9,
  ),
  'inception': (
    inception_table.TABLE,
    (inception.Inception, inception.InceptionConfig()),
    23.9,
  ),
  'bert': (bert_table.TABLE, (bert.Bert, bert.BertConfig()), 335.1),
  'mpnet': (mpnet_table.TABLE, (mpnet.MPNet, mpnet.MPNetConfig()), 109.5),
}


@pytest.fixture(params=FULL, scope='module')
def full(request):
  """(table, abstract full-size model, millions of parameters)."""
  rows, model, millions = FULL[request.param]
  return rows, abstract_modules.abstract_module(*model), millions


def test_each_row_is_used(full):
  rows, model, _ = full
  assert weight_table.unused_rows(model, rows) == []


def test_each_parameter_is_one_or_more_tensors_of_its_size(full):
  rows, model, millions = full
  actual = weight_table.entries(model, rows)
  size = lambda shapes: sum(int(np.prod(s.shape)) for s in shapes)
  assert size(actual.values()) == size(jax.tree.leaves(nnx.state(model)))
  assert round(size(actual.values()) / 1e6, 1) == pytest.approx(
    millions, abs=0.1
  )


def test_no_tensor_has_two_rows(full):
  rows, _, _ = full
  names = collections.Counter(row.torch_name for row in rows)
  assert max(names.values()) == 1


@pytest.mark.parametrize('transform', weight_rows.TRANSFORMS)
def test_each_transform_is_undone_by_its_inverse(transform):
  to_jax, to_torch = weight_rows.TRANSFORMS[transform]
  shape = (2, 3, 1, 1) if transform == 'pointwise' else (2, 3, 4, 5)
  array = np.random.default_rng(0).normal(size=shape)
  if transform == 'transpose':
    array = array[..., 0, 0]
  np.testing.assert_array_equal(to_torch(to_jax(array)), array)


@pytest.mark.parametrize(
  'line, output',
  [
    ('a.* | b.*.* | copy', 'as many'),
    ('a.*.* | b | copy', 'as many'),
    ('a | b | turn', 'transform must'),
  ],
)
def test_a_row_that_means_nothing_is_refused(line, output):
  with pytest.raises(ValueError, match=output):
    weight_rows.parse(line)


def test_a_parameter_without_a_row_is_named():
  class Two(nnx.Module):
    def __init__(self):
      self.a = nnx.Param(jnp.zeros(2))
      self.b = nnx.Param(jnp.zeros(2))

  rows = weight_rows.parse('x | a | copy')
  with pytest.raises(ValueError, match='no row for jax path b'):
    weight_table.to_jax(
      {'x': np.zeros(2, np.float32)}, rows, nnx.eval_shape(Two)
    )
  with pytest.raises(ValueError, match='no row for jax path b'):
    weight_table.to_torch(Two(), rows)
