"""Checks of a Show-o: logits, likelihoods, losses, gradients, features."""

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
# A sum of some log-probabilities, each within the logits' tolerance.
LOGPS = 5e-4
LOSS = 1e-5
GRADIENT = 1e-5
TASKS = ('t2i', 'mmu')
INPUTS = frozenset(
  """
    t2i_text_ids t2i_text_lengths t2i_mask t2i_win_tokens t2i_lose_tokens
    mmu_image_tokens mmu_win_text mmu_lose_text beta mmu_gen_question
    t2i_gen_guidance t2i_gen_steps inpaint_keep clip_features embeds_in
    embeds_mask
""".split()
)


@jax.jit
def row_logits(model, tokens, mask):
  """Returns float32[T, V] of one row int32[T] with bool[T, T]."""
  hidden, _ = model(tokens, mask, jnp.arange(tokens.shape[-1]))
  return model.logits(hidden)


@jax.jit
def row_logps(model, tokens, mask, labels):
  """Returns float32[], the summed log-probability of labels int32[T]."""
  return log_likelihood.sequence_logps(row_logits(model, tokens, mask), labels)


@jax.jit
def embedded_logits(model, x, mask):
  """Returns float32[T, V] of one row of embeddings float[T, D]."""
  hidden, _ = model.from_embeddings(x, mask, jnp.arange(x.shape[-2]))
  return model.logits(hidden)


class Activations:
  """Computes what a file of activations should hold.

  Attributes:
    models: 'policy' and 'reference', the latter may be None.
    found: the file.
    max_text: text tokens of t2i rows.
  """

  def __init__(self, policy, reference, found, max_text):
    self.models = {'policy': policy, 'reference': reference}
    self.found, self.max_text = found, max_text
    self._vocab = policy.config.vocab

  def inputs(self, task, side):
    """(tokens, mask, labels where scored) of the rows of a file."""
    rows = row_checks.of_tokens(
      self._vocab, self.found[f'{task}_{side}_ids'], task
    )
    mask = attention_mask.mask_matrix(rows.ar, rows.valid)
    labels = np.array(self.found.get(f'{task}_{side}_labels', rows.labels))
    if task == 't2i':
      labels[:, : self.max_text + 1] = token_rows.UNSCORED
      return rows.tokens, mask, jnp.asarray(labels)
    return rows.tokens, mask, log_likelihood.next_labels(jnp.asarray(labels))

  def logits(self, task, side):
    """float32[B, T, V]."""
    tokens, mask, _ = self.inputs(task, side)
    return np.stack(
      [row_logits(self.models['policy'], t, m) for t, m in zip(tokens, mask)]
    )

  @functools.cache
  def logps(self, name, task, side):
    """float32[B]."""
    return np.stack(
      [
        row_logps(self.models[name], *row)
        for row in zip(*self.inputs(task, side))
      ]
    )

  def pair(self, name, task):
    """float32[B, 2], of winners and losers."""
    return np.stack([self.logps(name, task, s) for s in row_checks.SIDES], 1)

  def losses(self, task):
    """float32[B], -log sigmoid(beta margin)."""
    margins = pair_margins.reward_margins(
      self.pair('policy', task), self.pair('reference', task)
    )
    return -jax.nn.log_sigmoid(float(self.found['beta']) * margins)

  def loss(self):
    """float32[], the mean over t2i pairs plus that over mmu pairs."""
    return sum(self.losses(task).mean() for task in TASKS)

  @functools.cached_property
  def gradients(self):
    """Entries of the gradient of `loss` by torch name."""
    frozen = pair_margins.PairLogps(
      *(jnp.asarray(self.pair('reference', t)) for t in TASKS)
    )
    rows = {
      task: [self.inputs(task, side) for side in row_checks.SIDES]
      for task in TASKS
    }

    def logps(policy, task):
      return jnp.stack(
        [
          jnp.stack([row_logps(policy, *row) for row in zip(*side)])
          for side in rows[task]
        ],
        axis=1,
      )

    objective = objective_config.ObjectiveConfig(beta=float(self.found['beta']))

    @jax.jit
    @jax.grad
    def gradient(policy):
      found = pair_margins.PairLogps(*(logps(policy, t) for t in TASKS))
      value, _ = pair_loss.preference_loss(
        methods.PairScores(found, frozen), objective
      )
      return value

    model = self.models['policy']
    return weight_table.entries(
      gradient(model), showo_table.rows_of(model.config)
    )

  def gradient(self, name):
    """The gradient of one torch parameter."""
    if name not in self.gradients:
      raise ValueError(f'there is no parameter {name}')
    return self.gradients[name].make()

  def gradient_norm(self):
    """float64[], over all parameters."""
    squares = (
      np.sum(np.square(np.float64(entry.make())))
      for entry in self.gradients.values()
    )
    return np.sqrt(sum(squares))

  def projected(self):
    """float32[B, S, D], CLIP features as the decoder takes them."""
    model = self.models['policy']
    if not model.config.clip_width:
      raise ValueError('this model has no mm_projector')
    return model.projector(jnp.asarray(self.found['clip_features']))

  def from_embeddings(self):
    """float32[B, T, V] of embeddings float[B, T, D] and their mask.

    The mask is [T, T], [B or 1, T, T] or [B or 1, 1, T, T]: one of a row, or
    one that all rows share. It is bool, or as PyTorch adds it to scores: 0
    where a key is seen.
    """
    mask, x = self.found['embeds_mask'], self.found['embeds_in']
    mask = mask if mask.dtype == bool else mask > -1
    rows, size, _ = x.shape
    mask = _mask_of_rows(mask, rows, size)
    return np.stack(
      [embedded_logits(self.models['policy'], *row) for row in zip(x, mask)]
    )


def _mask_of_rows(mask, rows, size):
  """Returns a mask as [B, T, T]; ValueError if its shape is no such mask."""
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
  policy, reference, found: Mapping[str, np.ndarray], max_text: int
) -> dict[str, checks.Check]:
  """Returns the checks of a Show-o.

  Args:
    policy: the model.
    reference: the frozen one, or None.
    found: the file of activations.
    max_text: text tokens of t2i rows.
  """
  of = Activations(policy, reference, found, max_text)
  made = row_checks.make(found, policy.config.vocab, max_text)
  made |= sampling_checks.make(policy, found, max_text)
  scored = tuple(
    f'{task}_{side}_{what}'
    for task in TASKS
    for side in row_checks.SIDES
    for what in ('ids', 'labels')
  )
  frozen = () if reference is not None else ('--reference',)
  needs = ('beta', *scored, *frozen)
  for task in TASKS:
    for side in row_checks.SIDES:
      rows = (f'{task}_{side}_ids',)
      made[f'{task}_{side}_logits'] = checks.Check(
        rows, LOGITS, lambda t=task, s=side: of.logits(t, s)
      )
      rows += (f'{task}_{side}_labels',)
      for name, more in (('policy', ()), ('reference', frozen)):
        made[f'logp_{name}_{task}_{side}'] = checks.Check(
          rows + more, LOGPS, lambda n=name, t=task, s=side: of.logps(n, t, s)
        )
    made[f'dpo_loss_{task}'] = checks.Check(
      needs, LOSS, lambda t=task: of.losses(t)
    )
  made['dpo_loss'] = checks.Check(needs, LOSS, of.loss)
  made['grad_global_norm'] = checks.Check(needs, 1e-4, of.gradient_norm)
  for key in found:
    if key.startswith('grad/'):
      made[key] = checks.Check(
        needs, GRADIENT, lambda k=key: of.gradient(k.removeprefix('grad/'))
      )
  made['clip_projected'] = checks.Check(
    ('clip_features',), LOGITS, of.projected
  )
  made['embeds_logits'] = checks.Check(
    ('embeds_in', 'embeds_mask'), LOGITS, of.from_embeddings
  )
  return made
