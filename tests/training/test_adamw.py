"""The learning rate of each step, and what weight decay is for."""

import math

import jax
import numpy as np
import optax
import pytest
import tiny

from hermesflow_jax.runtime import sharding
from hermesflow_jax.training import adamw


@pytest.mark.parametrize(
  'settings',
  [
    dict(steps=100, warmup=0.2, final=0.1),
    dict(steps=10, warmup=0.0),
    dict(steps=7, warmup=0.05),
    dict(steps=3, warmup=1.0),
    dict(steps=1),
  ],
)
def test_the_rate_is_that_of_optax(settings):
  settings = adamw.AdamWConfig(lr=2.0, **settings)
  warmup = math.ceil(settings.warmup * settings.steps)
  theirs = optax.warmup_cosine_decay_schedule(
    0.0 if warmup else settings.lr,
    settings.lr,
    warmup,
    max(settings.steps, warmup + 1),
    settings.final * settings.lr,
  )
  schedule = settings.schedule()
  steps = np.arange(settings.steps + 5)
  np.testing.assert_allclose(
    [adamw.learning_rate(n, schedule) for n in steps],
    [theirs(n) for n in steps],
    rtol=1e-5,
    atol=1e-6,
  )


@pytest.mark.parametrize(
  'make', [tiny.show_o, lambda key: tiny.tokenizer.__wrapped__()]
)
def test_weight_decay_is_for_kernels_and_embeddings(make):
  model = jax.eval_shape(make, jax.random.key(0))
  leaves, _ = jax.tree_util.tree_flatten_with_path(adamw.decay_mask(model))
  names = {sharding.path_name(path): decays for path, decays in leaves}
  last = {name.rsplit('/', 1)[-1]: [] for name in names}
  for name, decays in names.items():
    last[name.rsplit('/', 1)[-1]].append(decays)
  for kind, decays in last.items():
    assert set(decays) == {kind in ('kernel', 'embedding')}, kind
  assert {'kernel', 'bias', 'scale'} <= last.keys()
