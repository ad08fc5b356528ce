"""Token log-probabilities: their normalization, dtype and positions."""

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import log_likelihood


def test_token_logps_are_a_log_softmax_over_the_whole_vocabulary():
  logits = np.random.default_rng(0).normal(size=(1, 3, 2, 5, 11))
  every = np.arange(11)[:, None, None, None]
  every = np.broadcast_to(every, (11, 3, 2, 5))
  copies = np.broadcast_to(logits, (11, 3, 2, 5, 11))
  logps = jax.jit(log_likelihood.token_logps)(copies, every)
  np.testing.assert_allclose(np.exp(logps).sum(0), 1.0, rtol=1e-5)


def test_unscored_tokens_count_for_nothing():
  rng = np.random.default_rng(0)
  logits, labels = rng.normal(size=(4, 5, 11)), rng.integers(0, 11, (4, 5))
  labels[:, 0] = token_rows.UNSCORED
  logps = np.asarray(jax.jit(log_likelihood.token_logps)(logits, labels))
  assert not logps[:, 0].any()
  np.testing.assert_allclose(
    jax.jit(log_likelihood.sequence_logps)(logits, labels),
    logps[:, 1:].sum(-1),
    rtol=1e-6,
  )
  np.testing.assert_array_equal(log_likelihood.label_counts(labels), 4)


def test_half_precision_logits_are_scored_in_float32():
  logits = np.random.default_rng(0).normal(size=(4, 11)).astype(jnp.bfloat16)
  score = jax.jit(log_likelihood.token_logps)
  actual = score(logits, np.arange(4))
  assert actual.dtype == jnp.float32
  np.testing.assert_array_equal(
    actual, score(logits.astype(np.float32), np.arange(4))
  )


def test_next_labels_stand_where_they_are_predicted():
  actual = log_likelihood.next_labels(jnp.array([[-100, 5, 6], [7, 8, -100]]))
  np.testing.assert_array_equal(actual, [[5, 6, -100], [8, -100, -100]])
