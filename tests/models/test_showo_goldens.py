"""Model, rows and loss together give the official logits and gradients."""

import json

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from conversions import weight_table
from conversions.tables import showo_table
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.training import log_likelihood

TASKS = {'t2i': lambda labels: labels, 'mmu': log_likelihood.next_labels}
MAX_TEXT = 12
# Logits differ by the order of float32 sums; see the goldens' README.
LOGITS = {'atol': 1e-4, 'rtol': 0}


@pytest.fixture(scope='module')
def folder(goldens):
  return goldens / 'showo_small'


@pytest.fixture(scope='module')
def arrays(folder):
  with np.load(folder / 'io.npz') as file:
    return dict(file)


@pytest.fixture(scope='module')
def config(folder):
  sizes = json.loads((folder / 'config.json').read_text())
  return showo.ShowOConfig(
    vocabulary.Vocab(
      sizes['llm_vocab_size'],
      sizes['codebook_size'],
      sizes['special_token_ids']['<|eot|>'],
    ),
    phi.PhiConfig(
      width=sizes['hidden_size'],
      layers=sizes['num_hidden_layers'],
      heads=sizes['num_attention_heads'],
      mlp=sizes['intermediate_size'],
      rotary_fraction=sizes['partial_rotary_factor'],
      rope_theta=sizes['rope_theta'],
      norm_eps=sizes['layer_norm_eps'],
    ),
  )


@pytest.fixture(scope='module')
def weights(folder):
  return safetensors.numpy.load_file(folder / 'model.safetensors')


@pytest.fixture(scope='module')
def policy(weights, config):
  return showo_table.to_jax(weights, config)


@pytest.fixture(scope='module')
def reference(folder, config):
  path = folder / 'reference_model.safetensors'
  return showo_table.to_jax(safetensors.numpy.load_file(path), config)


def inputs(arrays, task):
  """(tokens, labels, mask) of the pairs, [B, 2, T]; labels where scored."""
  sides = ('win', 'lose')
  tokens = np.stack([arrays[f'{task}_{s}_ids'] for s in sides], axis=1)
  labels = np.stack([arrays[f'{task}_{s}_labels'] for s in sides], axis=1)
  if task == 't2i':
    labels[..., : MAX_TEXT + 1] = token_rows.UNSCORED
  pad, soi, eoi = 50, 51, 52
  start = soi if task == 't2i' else 56
  inside = np.cumsum(tokens == start, -1) - np.cumsum(tokens == eoi, -1)
  joins = (inside == 1) & (tokens != start) | (tokens == eoi)
  mask = attention_mask.mask_matrix(1 - joins.astype(np.int32), tokens != pad)
  return tokens, TASKS[task](jnp.asarray(labels)), mask


@jax.jit
def logits_of(model, tokens, mask):
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[-1]), tokens.shape)
  hidden, _ = model(tokens, mask, positions)
  return model.logits(hidden)


def logps_of(model, arrays):
  """PairValues of one model."""

  def one(task):
    tokens, labels, mask = inputs(arrays, task)
    return log_likelihood.sequence_logps(logits_of(model, tokens, mask), labels)

  return pair_margins.PairValues(one('t2i'), one('mmu'))


@pytest.fixture(scope='module')
def loss_and_gradient(policy, reference, arrays):
  """The loss of the official batch and its gradient, a module."""
  frozen = logps_of(reference, arrays)

  @jax.jit
  @jax.value_and_grad
  def loss(policy):
    value, _ = pair_loss.preference_loss(
      methods.PairScores(logps_of(policy, arrays), frozen),
      objective_config.ObjectiveConfig(beta=float(arrays['beta'])),
    )
    return value

  return loss(policy)


def test_every_row_of_the_table_is_used(policy):
  assert not weight_table.unused_rows(policy, showo_table.TABLE)


def test_weights_go_back_to_pytorch_unchanged(policy, weights):
  back = showo_table.to_torch(policy)
  assert back.keys() == weights.keys()
  for name, array in weights.items():
    np.testing.assert_array_equal(back[name], array, err_msg=name)


@pytest.mark.parametrize('task', TASKS)
def test_masks_of_the_pairs_are_the_official_ones(arrays, task):
  _, _, mask = inputs(arrays, task)
  np.testing.assert_array_equal(mask[:, 0], arrays[f'{task}_attention'])


@pytest.mark.parametrize('task', TASKS)
def test_logits_equal_the_official_ones(policy, arrays, task):
  tokens, _, mask = inputs(arrays, task)
  np.testing.assert_allclose(
    logits_of(policy, tokens, mask)[:, 0],
    arrays[f'{task}_win_logits'],
    **LOGITS,
  )


@pytest.mark.parametrize('name', ['policy', 'reference'])
def test_log_likelihoods_equal_the_official_ones(request, arrays, name):
  actual = logps_of(request.getfixturevalue(name), arrays)
  for task in TASKS:
    for side, s in ('win', pair_margins.WIN), ('lose', pair_margins.LOSE):
      # Up to seventeen log-probabilities, each within the logits' tolerance.
      np.testing.assert_allclose(
        getattr(actual, task)[:, s],
        arrays[f'logp_{name}_{task}_{side}'],
        atol=5e-4,
        err_msg=f'{task} {side}',
      )


def test_the_loss_equals_the_official_one(loss_and_gradient, arrays):
  loss, _ = loss_and_gradient
  np.testing.assert_allclose(loss, arrays['dpo_loss'], atol=1e-5)


def test_gradients_equal_the_official_ones(loss_and_gradient, arrays):
  _, grads = loss_and_gradient
  squares = [np.sum(np.asarray(g) ** 2) for g in jax.tree.leaves(grads)]
  norm = np.sqrt(sum(squares))
  np.testing.assert_allclose(norm, arrays['grad_global_norm'], rtol=1e-5)
  actual = showo_table.to_torch(grads)
  names = [k for k in arrays if k.startswith('grad/')]
  assert names
  for name in names:
    # Gradients reach 1; sums of float32 agree to five digits of that.
    np.testing.assert_allclose(
      actual[name.removeprefix('grad/')], arrays[name], atol=1e-5, err_msg=name
    )


def test_a_missing_weight_is_named(weights, config):
  some = {k: v for k, v in weights.items() if k != 'showo.lm_head.bias'}
  with pytest.raises(ValueError, match='missing showo.lm_head.bias'):
    showo_table.to_jax(some, config)


def test_a_row_alone_equals_the_row_in_a_batch(policy, arrays):
  tokens, _, mask = inputs(arrays, 't2i')
  batch = logits_of(policy, tokens, mask)
  alone = logits_of(policy, tokens[0, 0], mask[0, 0])
  np.testing.assert_allclose(alone, batch[0, 0], **LOGITS)


def test_the_model_is_a_pytree_of_its_parameters(policy, weights):
  leaves = jax.tree.leaves(nnx.state(policy))
  count = sum(leaf.size for leaf in leaves)
  assert count == sum(array.size for array in weights.values())
