"""Checks Show-o: logits, log-likelihoods, losses, gradients, features."""

from collections.abc import Mapping
import functools

import jax
import jax.numpy as jnp
import numpy as np

from conversions import weight_table
from conversions.tables import showo_table
from conversions.verification import checks
from conversions.verification import row_checks
from conversions.verification import sampling_checks
from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import log_likelihood

LOGITS = 1e-4
# Larger than LOGITS, because errors of several log-probabilities add up.
LOGPS = 5e-4
LOSS = 1e-5
GRADIENT = 1e-5
TASKS = ('t2i', 'mmu')
INPUTS = frozenset(
  (
    *('t2i_text_ids', 't2i_text_lengths', 't2i_mask', 't2i_win_tokens'),
    *('t2i_lose_tokens', 'mmu_image_tokens', 'mmu_win_text', 'mmu_lose_text'),
    *('beta', 'mmu_gen_question', 't2i_gen_guidance', 't2i_gen_steps'),
    *('inpaint_keep', 'clip_features', 'embeds_in', 'embeds_mask'),
  )
)


@jax.jit
def row_logits(model, tokens, mask):
  """Returns logits float32[T, V] for tokens int32[T] and mask bool[T, T]."""
  hidden, _ = model(tokens, mask, jnp.arange(tokens.shape[-1]))
  return model.logits(hidden)


@jax.jit
def row_logps(model, tokens, mask, labels):
  """Returns the summed log-probability float32[] for labels int32[T]."""
  return log_likelihood.sequence_logps(row_logits(model, tokens, mask), labels)


@jax.jit
def embedded_logits(model, x, mask):
  """Returns logits float32[T, V] for embeddings float[T, D]."""
  hidden, _ = model.from_embeddings(x, mask, jnp.arange(x.shape[-2]))
  return model.logits(hidden)


class Activations:
  """Computes arrays that saved activations are compared with.

  Attributes:
    models: 'policy' and 'reference'; the reference may be None.
    saved: activations from PyTorch by key.
    max_text: text tokens per text-to-image row.
    logps: see `_logps`; results are kept.
  """

  def __init__(self, policy, reference, saved, max_text):
    self.models = {'policy': policy, 'reference': reference}
    self.saved, self.max_text = saved, max_text
    self.logps = functools.cache(self._logps)
    self._vocab = policy.config.vocab

  def inputs(self, task, side):
    """Returns (tokens int32[B, T], mask bool[B, T, T], labels int32[B, T])."""
    rows = row_checks.of_tokens(
      self._vocab, self.saved[f'{task}_{side}_ids'], task
    )
    mask = attention_mask.mask_matrix(rows.ar, rows.valid)
    labels = np.array(self.saved.get(f'{task}_{side}_labels', rows.labels))
    if task == 't2i':
      labels[:, : self.max_text + 1] = token_rows.UNSCORED
      return rows.tokens, mask, jnp.asarray(labels)
    return rows.tokens, mask, log_likelihood.next_labels(jnp.asarray(labels))

  def logits(self, task, side):
    """Returns the policy's logits, float32[B, T, V]."""
    tokens, mask, _ = self.inputs(task, side)
    return np.stack(
      [row_logits(self.models['policy'], t, m) for t, m in zip(tokens, mask)]
    )

  def _logps(self, name, task, side):
    """Returns a model's summed log-probabilities, float32[B]."""
    return np.stack(
      [
        row_logps(self.models[name], *row)
        for row in zip(*self.inputs(task, side))
      ]
    )

  def pair(self, name, task):
    """Returns log-probabilities for winners and losers, float32[B, 2]."""
    return np.stack([self.logps(name, task, s) for s in row_checks.SIDES], 1)

  def losses(self, task):
    """Returns float32[B], -log sigmoid(beta margin) (DPO, equation 7)."""
    margins = pair_margins.reward_margins(
      self.pair('policy', task), self.pair('reference', task)
    )
    return -jax.nn.log_sigmoid(float(self.saved['beta']) * margins)

  def loss(self):
    """Returns float32[], the mean t2i loss plus the mean mmu loss."""
    return sum(self.losses(task).mean() for task in TASKS)

  @functools.cached_property
  def gradients(self):
    """The gradient of `loss`: torch name -> weight_table.Entry."""
    frozen = pair_margins.PairValues(
      *(jnp.asarray(self.pair('reference', t)) for t in TASKS)
    )
    rows = {
      task: jax.tree.map(
        lambda *sides: jnp.concatenate(sides),
        *(self.inputs(task, side) for side in row_checks.SIDES),
      )
      for task in TASKS
    }

    def logps(policy, task):
      # A loop over rows, whose body is compiled once.
      scores = jax.lax.map(lambda row: row_logps(policy, *row), rows[task])
      return scores.reshape(len(row_checks.SIDES), -1).T

    objective = objective_config.ObjectiveConfig(beta=float(self.saved['beta']))

    @jax.jit
    @jax.grad
    def gradient(policy):
      pair_logps = pair_margins.PairValues(*(logps(policy, t) for t in TASKS))
      value, _ = pair_loss.preference_loss(
        methods.PairScores(pair_logps, frozen), objective
      )
      return value

    model = self.models['policy']
    return weight_table.entries(
      gradient(model), showo_table.rows_of(model.config)
    )

  def gradient(self, name):
    """Returns the gradient for a torch parameter."""
    if name not in self.gradients:
      raise ValueError(f'there is no parameter {name}')
    return self.gradients[name].make()

  def gradient_norm(self):
    """Returns the gradient's L2 norm, float64[]."""
    squares = (
      np.sum(np.square(np.float64(entry.make())))
      for entry in self.gradients.values()
    )
    return np.sqrt(sum(squares))

  def projected(self):
    """Returns float32[B, S, D], CLIP features projected for the decoder."""
    model = self.models['policy']
    if not model.config.clip_width:
      raise ValueError('this model has no mm_projector')
    return model.projector(jnp.asarray(self.saved['clip_features']))

  def from_embeddings(self):
    """Returns logits float32[B, T, V] for embeddings float[B, T, D].

    The mask is [T, T], [B or 1, T, T] or [B or 1, 1, T, T]; size 1 means that
    all rows share it. It is bool, or additive as in PyTorch, with 0 for visible
    keys.
    """
    mask, x = self.saved['embeds_mask'], self.saved['embeds_in']
    mask = mask if mask.dtype == bool else mask > -1
    rows, size, _ = x.shape
    mask = _mask_of_rows(mask, rows, size)
    return np.stack(
      [embedded_logits(self.models['policy'], *row) for row in zip(x, mask)]
    )


def _mask_of_rows(mask, rows, size):
  """Returns a mask as [B, T, T]; ValueError for any other shape."""
  shape = mask.shape
  if len(shape) == 4 and shape[1] == 1:
    shape = shape[:1] + shape[2:]
  if len(shape) == 2:
    shape = (1, *shape)
  if len(shape) != 3 or shape[0] not in (1, rows) or shape[1:] != (size, size):
    raise ValueError(
      f'embeds_mask must be [T, T], [B or 1, T, T] or [B or 1, 1, T, T] with '
      f'B = {rows} and T = {size}, got {list(mask.shape)}'
    )
  return np.broadcast_to(mask.reshape(shape), (rows, size, size))


def make(
  policy, reference, activations: Mapping[str, np.ndarray], max_text: int
) -> dict[str, checks.Check]:
  """Returns Show-o's checks by key.

  Args:
    policy: a ShowO.
    reference: the frozen reference model, or None.
    activations: arrays by key.
    max_text: text tokens per text-to-image row.
  """
  computed = Activations(policy, reference, activations, max_text)
  result = row_checks.make(activations, policy.config.vocab, max_text)
  result |= sampling_checks.make(policy, activations, max_text)
  scored = tuple(
    f'{task}_{side}_{name}'
    for task in TASKS
    for side in row_checks.SIDES
    for name in ('ids', 'labels')
  )
  frozen = () if reference is not None else ('--reference',)
  needs = ('beta', *scored, *frozen)
  for task in TASKS:
    for side in row_checks.SIDES:
      rows = (f'{task}_{side}_ids',)
      result[f'{task}_{side}_logits'] = checks.Check(
        rows, LOGITS, lambda t=task, s=side: computed.logits(t, s)
      )
      rows += (f'{task}_{side}_labels',)
      for name, more in (('policy', ()), ('reference', frozen)):
        result[f'logp_{name}_{task}_{side}'] = checks.Check(
          rows + more,
          LOGPS,
          lambda n=name, t=task, s=side: computed.logps(n, t, s),
        )
    result[f'dpo_loss_{task}'] = checks.Check(
      needs, LOSS, lambda t=task: computed.losses(t)
    )
  result['dpo_loss'] = checks.Check(needs, LOSS, computed.loss)
  result['grad_global_norm'] = checks.Check(needs, 1e-4, computed.gradient_norm)
  for key in activations:
    if key.startswith('grad/'):
      result[key] = checks.Check(
        needs,
        GRADIENT,
        lambda k=key: computed.gradient(k.removeprefix('grad/')),
      )
  result['clip_projected'] = checks.Check(
    ('clip_features',), LOGITS, computed.projected
  )
  result['embeds_logits'] = checks.Check(
    ('embeds_in', 'embeds_mask'), LOGITS, computed.from_embeddings
  )
  return result
