"""Workloads need little more work than the useful FLOPs and bytes."""

import functools

import benchmark_settings
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.jobs import benchmark
from hermesflow_jax.models import flop_count
from hermesflow_jax.performance.benchmark import choices_workload
from hermesflow_jax.performance.benchmark import images_workload
from hermesflow_jax.performance.benchmark import named_workload
from hermesflow_jax.performance.benchmark import official_checkout
from hermesflow_jax.performance.benchmark import pixels_workload
from hermesflow_jax.performance.benchmark import replies_workload
from hermesflow_jax.performance.benchmark import steps_workload

IMAGES = images_workload.ImagesWorkload(2, 8, 5, 2.0, 12, 2)


WRITTEN = replies_workload.RepliesWorkload(2, 5, True, 8, 6, 12, 2)


ASKED = replies_workload.RepliesWorkload(3, 4, False, 8, 6, 3, 2)


CHOSEN = choices_workload.ChoicesWorkload(2, 3, 4, 8, 6, 3)


LEARNED = steps_workload.StepsWorkload(2, 8, 12, 6, 9, 16)


ENCODED = pixels_workload.PixelsWorkload(2, 16, False)


DECODED = pixels_workload.PixelsWorkload(2, 16, True)


@pytest.fixture(scope='module')
def models():
  return benchmark.random_models(benchmark_settings.configured(), jnp.float32)


@pytest.fixture(scope='module')
def model(models):
  return models.showo


def rng():
  return np.random.default_rng(0)


@pytest.fixture(scope='module')
def executed(models):
  """workload -> its Work, and what it executes."""

  @functools.cache
  def cost(workload):
    work = workload.ours(models, rng())
    return work, flop_count.count_flops(
      work.call, *work.arguments, trips=work.trips
    )

  return cost


def test_the_decoder_counts_as_the_compiler_says(model):
  """Without a loop: as many layers unrolled; other operations are few."""

  def hidden(model, tokens):
    sees = jnp.ones((40, 40), bool)
    return model(tokens, sees, jnp.arange(40))[0]

  config = model.config.decoder
  tokens = jnp.zeros(40, jnp.int32)
  actual = flop_count.count_flops(hidden, model, tokens).flops
  assert actual == flop_count.decoder_flops(config, 40, 40)
  compiled = jax.jit(hidden).lower(model, tokens).compile()
  of_compiler = compiled.cost_analysis()['flops']
  # The body of the scan over layers counts once.
  assert 1.0 <= of_compiler / (actual / config.layers) < 1.15


@pytest.mark.parametrize(
  'workload', [IMAGES, WRITTEN, ASKED, CHOSEN, ENCODED, DECODED]
)
def test_little_is_computed_in_vain(models, executed, workload):
  """Pads, unread last tokens and the room of caches: at most an eighth."""
  _, cost = executed(workload)
  useful = workload.useful(models).flops
  assert 1.0 <= cost.flops / useful < 1.125


def test_little_of_a_step_is_computed_twice(models, executed):
  """The head alone, for its gradient, and the scores of the reference."""
  _, cost = executed(LEARNED)
  useful = LEARNED.useful(models).flops
  assert 1.0 <= cost.flops / useful < 1.25


def test_the_naive_step_is_the_same_step(models):
  ours, (naive,) = LEARNED.ours(models, rng()), LEARNED.naive(models, rng())
  before = [np.array(leaf) for leaf in ours.arguments[0]]
  (after, actual), (wanted_after, expected) = (
    work.call(*work.arguments) for work in (ours, naive)
  )
  for name in ('train/loss', 'train/grad_norm'):
    assert float(actual[name]) == pytest.approx(float(expected[name]), rel=1e-4)
  assert actual['train/grad_norm'] > 0
  # The step, then the model, then the optimizer's state.
  weights = slice(1, 1 + len(jax.tree.leaves(models.learner)))
  moved = [np.abs(a - b).max() for a, b in zip(after[weights], before[weights])]
  assert np.mean(np.array(moved) > 1e-4) > 0.9
  for a, b in zip(after, wanted_after, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
  'kind, work',
  [
    ('images', IMAGES),
    ('replies', WRITTEN),
    # Captions as long as texts: all rows have the same length.
    ('steps', steps_workload.StepsWorkload(1, 8, 16, 6, 9, 16)),
  ],
)
def test_the_official_form_has_the_flops_of_the_naive_form(models, kind, work):
  actual = sum(
    naive.scale * flop_count.count_flops(naive.call, *naive.arguments).flops
    for naive in work.naive(models, rng())
  )
  named = named_workload.NamedWorkload('', **{kind: work})
  expected = official_checkout.official_flops(named, models.showo.config)
  # The backward pass of a step computes a few products twice.
  assert actual == pytest.approx(
    expected, rel=0.03 if kind == 'steps' else 1e-6
  )


def test_the_naive_way_of_images_computes_all_that_is_there(models):
  model, (work,) = models.showo, IMAGES.naive(models, rng())
  actual = flop_count.count_flops(work.call, *work.arguments).flops * work.scale
  length = IMAGES.text + 1 + IMAGES.grid**2 + 2
  once = flop_count.decoder_flops(model.config.decoder, length, length)
  once += flop_count.head_flops(
    model.config.decoder, length, model.config.vocab.size
  )
  assert actual == pytest.approx(2 * IMAGES.count * IMAGES.steps * once)
  drawn = np.asarray(work.call(*work.arguments))
  start = IMAGES.text + 2
  hidden = (drawn[:, start : start + 64] == model.config.vocab.mask).mean()
  assert 0 < hidden < 1


@pytest.mark.parametrize(
  'workload, most', [(IMAGES, 5), (WRITTEN, 12), (ASKED, 3), (CHOSEN, 3)]
)
def test_what_is_read_are_the_weights_for_each_pass(
  models, executed, workload, most
):
  """No more than the products of the program read."""
  model = models.showo
  once = sum(leaf.nbytes for leaf in jax.tree.leaves(model.decoder.layers))
  least = workload.useful(models).bytes
  assert most * once < least < executed(workload)[1].bytes


@pytest.mark.parametrize('workload', [WRITTEN, ASKED, CHOSEN])
def test_the_naive_way_of_text_reads_every_row_again(models, workload):
  model, works = models.showo, workload.naive(models, rng())
  assert len(works) == getattr(workload, 'naive_calls', 1)
  assert sum(work.scale for work in works) == pytest.approx(workload.calls())
  for work in works:
    _, tokens, _ = work.arguments
    length = len(tokens)
    expected = flop_count.decoder_flops(model.config.decoder, length, length)
    expected += flop_count.head_flops(
      model.config.decoder, length, model.config.vocab.size
    )
    assert flop_count.count_flops(work.call, *work.arguments).flops == expected
  shortest = 64 + 3 + 1 + workload.prompt
  most = shortest + workload.tokens - (workload is not CHOSEN)
  assert shortest <= length <= most
