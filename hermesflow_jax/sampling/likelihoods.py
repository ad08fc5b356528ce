"""Likelihood of captions given images, and of images given captions.

Both rank candidates without questions: an image by the words of its caption,
a caption by the codes of its image.
Each value depends on its image and its caption alone: rows are padded to
lengths of their own, and calls to a complete chunk.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import choice_tokens
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import token_rows

# Masks of an image, the same for all captions of an input.
MASKS = 4
# Codes whose logits are in memory at once, for each row and mask.
_PLACES = 64
_SEED = 0


def caption_logps(
  unified, codes: np.ndarray, captions: Sequence[str]
) -> np.ndarray:
  """Scores captions as replies about images.

  Args:
    unified: a `unified_model.UnifiedModel`, with the prompt for captions.
    codes: int[N, I], image codes.
    captions: N texts; what exceeds the length of a reply is cut.

  Returns:
    float64[N], mean log-probability in nats of a caption's tokens, its end
    included; at most 0.
  """
  vocab, most = unified.vocab, unified.lengths.reply
  (prompt,) = unified.text.encode(
    [unified.reader.user_turn(unified.caption_prompt)]
  )
  rows = [
    token_rows.cut(vocab, [*ids, vocab.eos], most)
    for ids in unified.text.encode_replies(list(captions))
  ]
  sizes = np.array([batched.padded_length(len(row), most) for row in rows])
  score = functools.partial(unified.sampler.score, choice_rules.mean_logp)
  out = np.zeros(len(rows))
  for size in np.unique(sizes):
    (places,) = np.nonzero(sizes == size)
    image, prompts, lengths = unified.reader.parts(
      codes[places],
      np.arange(len(places)),
      [prompt] * len(places),
      unified.lengths.prompt,
    )
    tokens = token_rows.right_padded(vocab, [rows[n] for n in places], size)
    tokens = tokens[:, None, None]
    valid = tokens != vocab.pad
    # A single choice: no other continues it.
    choices = choice_tokens.Choices(tokens, valid, valid[..., None])
    prompts, lengths = jax.tree.map(lambda a: a[:, None], (prompts, lengths))
    out[places] = unified.sampler.map(
      'scoring images', score, (image, prompts, lengths, choices), padded=True
    )[:, 0, 0]
  return out


def image_logps(
  unified, names: Sequence[str], codes: np.ndarray, captions: Sequence[str]
) -> np.ndarray:
  """Scores images given captions, by masked prediction of their codes.

  The codes of an image are hidden by MASKS masks. They derive from the name of
  the input, so all captions of an input see the same codes.

  Args:
    unified: a `unified_model.UnifiedModel`.
    names: N names of inputs.
    codes: int[N, I], image codes.
    captions: N texts.

  Returns:
    float64[N], mean log-probability in nats of a hidden code, over the whole
    vocabulary; at most 0.
  """
  rows = text_to_image.t2i_rows(
    unified.vocab,
    unified.text.encode(list(captions)),
    codes,
    unified.lengths.max_text,
  )
  keys = batched.identity_keys(
    _SEED, [f'likelihood/{name}' for name in names], MASKS
  )

  def score(batch):
    return _mean_code_logps(unified.sampler.serving_model, *batch)

  scores = unified.sampler.map(
    'scoring captions', score, (rows, keys), MASKS, padded=True
  )
  return scores.astype(np.float64)


@jax.jit
def _mean_code_logps(model, rows: token_rows.Rows, keys):
  """Returns float32[N] for t2i rows [N, T] and raw keys uint32[N, MASKS, 2]."""
  count, size = model.config.image_tokens, rows.tokens.shape[-1]
  begin = size - count - 1
  schedule = mask_schedules.parse_schedule('cosine')

  def draw(key):
    return mask_schedules.draw_mask(
      jax.random.wrap_key_data(key), count, schedule
    )

  masked = jax.vmap(jax.vmap(draw))(keys)
  codes = rows.tokens[:, None, begin : begin + count]
  hidden_codes = jnp.where(masked, model.config.vocab.mask, codes)
  tokens = jnp.broadcast_to(rows.tokens[:, None], (*keys.shape[:2], size))
  tokens = tokens.at[..., begin : begin + count].set(hidden_codes)
  mask = attention_mask.key_intervals(rows.ar, rows.valid)
  mask = jax.tree.map(lambda a: a[:, None], mask)
  states, _ = model(tokens, [mask], jnp.arange(size))
  states = states[:, :, begin : begin + count]

  def logps(part):
    states, labels = part
    logits = model.logits(states)
    own = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return own - jax.nn.logsumexp(logits, axis=-1)

  # Few logits are in memory at once: a loop over places, not over rows, which
  # are spread over devices.
  parts = jax.tree.map(
    _split_places, (states, jnp.broadcast_to(codes, masked.shape))
  )
  values = jax.lax.map(logps, parts)
  values = jnp.moveaxis(values, 0, 2).reshape(*masked.shape[:2], -1)
  values = jnp.where(masked, values[..., :count], 0.0)
  return values.sum((1, 2)) / masked.sum((1, 2))


def _split_places(values):
  """Splits [N, J, I, ...] over places into [parts, N, J, I / parts, ...]."""
  count = values.shape[2]
  places = min(_PLACES, count)
  padding = [(0, 0)] * values.ndim
  padding[2] = (0, -count % places)
  values = jnp.pad(values, padding)
  values = values.reshape(*values.shape[:2], -1, places, *values.shape[3:])
  return jnp.moveaxis(values, 2, 0)
