"""Log-probabilities of the tokens of replies, by a single forward pass."""

from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.sampling import prefix_cache
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import token_rows

# Likeliest tokens at each place.
MOST = 20


@dataclasses.dataclass(frozen=True)
class TokenScores:
  """Log-probabilities at the R tokens of a reply, over all text ids.

  Attributes:
    own: float32[R], log-probability of the token in nats.
    likely: int32[R, L], the likeliest ids; L is MOST, or all text ids.
    likely_logps: float32[R, L], their log-probabilities, decreasing.
  """

  own: np.ndarray
  likely: np.ndarray
  likely_logps: np.ndarray


def token_scores(
  unified, images: np.ndarray, prompts: Sequence[str], replies
) -> list[TokenScores]:
  """Scores the tokens of replies to questions about images.

  Args:
    unified: a `unified_model.UnifiedModel`.
    images: int[N, I], image codes, or images that the model's reader reads.
    prompts: N questions.
    replies: N lists of text ids, with their ends; at most `lengths.reply` each.
  """
  parts = unified.reader.parts(
    images,
    np.arange(len(images)),
    unified.text.encode([unified.reader.user_turn(text) for text in prompts]),
    unified.lengths.prompt,
  )
  tokens = token_rows.right_padded(
    unified.vocab,
    [list(map(int, row)) for row in replies],
    unified.lengths.reply,
  )
  scores = unified.sampler.map(
    'scoring replies',
    lambda batch: _score(unified.sampler.serving_model, *batch),
    (*parts, tokens),
  )
  return [
    TokenScores(*(values[n, : len(row)] for values in scores))
    for n, row in enumerate(replies)
  ]


@jax.jit
def _score(model, images, prompts, lengths, tokens):
  """Returns (own, likely, likely_logps) for tokens int32[N, R]."""
  head = model.text_head()

  def score(image, prompt, length, tokens):
    last, past, past_mask = prefix_cache.read_tokens(
      model, image, prompt, length
    )
    slots = jnp.arange(tokens.shape[0] - 1)
    positions = image.tokens.shape[0] + length + slots
    mask = [*past_mask, attention_mask.Interval(end=slots + 1)]
    hidden, _ = model(tokens[:-1], mask, positions, past=past)
    logits = head(jnp.concatenate([last[None], hidden]))
    logps = jax.nn.log_softmax(logits.astype(jnp.float32))
    likely_logps, likely = jax.lax.top_k(logps, min(MOST, logps.shape[-1]))
    # Pads are no text ids; their scores are cut off later.
    own = jnp.clip(tokens, 0, logps.shape[-1] - 1)
    own = jnp.take_along_axis(logps, own[:, None], axis=-1)[:, 0]
    return own, likely.astype(jnp.int32), likely_logps

  return jax.vmap(score)(images, prompts, lengths, tokens)
