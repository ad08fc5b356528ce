"""Costs are counted right, and what is timed wastes little."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import configs.benchmark
from hermesflow_jax.jobs import benchmark
from hermesflow_jax.models import attention_kernels
from hermesflow_jax.models import flop_count
from hermesflow_jax.performance.benchmark import choices_workload
from hermesflow_jax.performance.benchmark import images_workload
from hermesflow_jax.performance.benchmark import measurement
from hermesflow_jax.performance.benchmark import pixels_workload
from hermesflow_jax.performance.benchmark import replies_workload
from hermesflow_jax.performance.benchmark import steps_workload
from hermesflow_jax.performance.benchmark import torch_phi
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal

A, B = jnp.ones((3, 5)), jnp.ones((5, 7))
SIZES = {
  'vocab': {'text_size': 60, 'codebook_size': 64, 'eos': 50},
  'decoder': {
    'width': 64,
    'layers': 2,
    'heads': 4,
    'mlp': 256,
    'remat': 'none',
  },
  'tokenizer': {
    'ch': 8,
    'encoder_ch_mult': (1, 2),
    'decoder_ch_mult': (1, 2),
    'encoder_num_res_blocks': (1, 1),
    'decoder_num_res_blocks': (1, 1),
    'z_channels': 4,
    'num_groups': 4,
  },
}
IMAGES = images_workload.ImagesWorkload(2, 8, 5, 2.0, 12, 2)
WRITTEN = replies_workload.RepliesWorkload(2, 5, True, 8, 6, 12, 2)
ASKED = replies_workload.RepliesWorkload(3, 4, False, 8, 6, 3, 2)
CHOSEN = choices_workload.ChoicesWorkload(2, 3, 4, 8, 6, 3)
LEARNED = steps_workload.StepsWorkload(2, 8, 12, 6, 9, 16)
ENCODED = pixels_workload.PixelsWorkload(2, 16, False)
DECODED = pixels_workload.PixelsWorkload(2, 16, True)


def configured(**changes):
  config = configs.benchmark.get_config()
  del config.job
  config.update(SIZES | {'repeats': 1})
  return settings.build(benchmark.Settings, config.to_dict() | changes)


@pytest.fixture(scope='module')
def models():
  return benchmark.random_models(configured(), jnp.float32)


@pytest.fixture(scope='module')
def model(models):
  return models.showo


def rng():
  return np.random.default_rng(0)


def test_a_product_counts_its_multiplications_and_additions():
  found = flop_count.count_flops(lambda a, b: a @ b, A, B)
  assert found == flop_count.Cost(2 * 3 * 5 * 7, 4 * (15 + 35 + 21))


def test_batched_products_and_inner_functions_count():
  inner = jax.jit(jax.checkpoint(lambda a: jnp.einsum('bij,bjk->bik', a, a)))
  found = flop_count.count_flops(inner, jnp.ones((4, 3, 3)))
  assert found.flops == 2 * 4 * 27


def test_loops_count_by_their_length():
  def looped(a):
    return jax.lax.scan(lambda c, _: (c @ c, None), a, None, length=6)[0]

  def turned(a):
    return jax.lax.while_loop(lambda c: c[0, 0] < 3, lambda c: c @ c, a)

  square = jnp.ones((4, 4))
  assert flop_count.count_flops(looped, square).flops == 6 * 128
  assert flop_count.count_flops(turned, square, trips=5).flops == 5 * 128


def test_what_each_part_of_a_mesh_computes_is_counted_for_all():
  a, b = jnp.ones((8, 4)), jnp.ones((4, 3))
  mesh = sharding.make_mesh(4, 2)

  def split(a, b):
    with sharding.use_mesh(mesh):
      return sharding.map_over_data(lambda b, a: a @ b, b, a)

  assert flop_count.count_flops(split, a, b).flops == 2 * 8 * 4 * 3


def test_what_a_kernel_computes_is_counted_for_all_its_blocks():
  """Forward, of one block: two products of 128 x 128 keys, for each head."""
  q = jnp.ones((3, 128, 2, 64))
  found = flop_count.count_flops(
    lambda q: attention_kernels.splash(q, [(q, q)], [None]), q
  )
  assert found.flops == 3 * 2 * 2 * (2 * 128 * 128 * 64)
  q = jnp.ones((3, 1100, 2, 64))
  found = flop_count.count_flops(
    lambda q: attention_kernels.splash(q, [(q, q)], [None]), q
  )
  assert found.flops == 3 * 2 * 2 * (2 * 1152 * 1152 * 64)


def test_a_convolution_counts_as_the_compiler_says():
  def convolved(x, kernel):
    return jax.lax.conv_general_dilated(
      x, kernel, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )

  arguments = jnp.ones((2, 9, 9, 3)), jnp.ones((3, 3, 3, 8))
  compiled = jax.jit(convolved).lower(*arguments).compile()
  wanted = compiled.cost_analysis()['flops']
  np.testing.assert_allclose(
    flop_count.count_flops(convolved, *arguments).flops, wanted
  )


def test_the_decoder_counts_as_the_compiler_says(model):
  """Without a loop: as many layers unrolled; other operations are few."""

  def hidden(model, tokens):
    sees = jnp.ones((40, 40), bool)
    return model(tokens, sees, jnp.arange(40))[0]

  config = model.config.decoder
  tokens = jnp.zeros(40, jnp.int32)
  found = flop_count.count_flops(hidden, model, tokens).flops
  assert found == flop_count.decoder_flops(config, 40, 40)
  compiled = jax.jit(hidden).lower(model, tokens).compile()
  of_compiler = compiled.cost_analysis()['flops']
  # The body of the scan over layers counts once.
  assert 1.0 <= of_compiler / (found / config.layers) < 1.15


@pytest.mark.parametrize(
  'workload', [IMAGES, WRITTEN, ASKED, CHOSEN, ENCODED, DECODED]
)
def test_little_is_computed_in_vain(models, workload):
  """Pads, unread last tokens and the room of caches: at most an eighth."""
  work = workload.ours(models, rng())
  executed = flop_count.count_flops(
    work.call, *work.arguments, trips=work.trips
  ).flops
  useful = workload.useful(models).flops
  assert 1.0 <= executed / useful < 1.125
  jax.block_until_ready(work.call(*work.arguments))


def test_little_of_a_step_is_computed_twice(models):
  """The head alone, for its gradient, and the scores of the reference."""
  work = LEARNED.ours(models, rng())
  executed = flop_count.count_flops(
    work.call, *work.arguments, trips=work.trips
  ).flops
  useful = LEARNED.useful(models).flops
  assert 1.0 <= executed / useful < 1.25


def test_the_naive_step_is_the_same_step(models):
  ours, (naive,) = LEARNED.ours(models, rng()), LEARNED.naive(models, rng())
  before = [np.array(leaf) for leaf in ours.arguments[0]]
  (after, found), (wanted_after, wanted) = (
    each.call(*each.arguments) for each in (ours, naive)
  )
  for name in ('train/loss', 'train/grad_norm'):
    assert float(found[name]) == pytest.approx(float(wanted[name]), rel=1e-4)
  assert found['train/grad_norm'] > 0
  # The step, then the model, then the optimizer's state.
  weights = slice(1, 1 + len(jax.tree.leaves(models.learner)))
  moved = [np.abs(a - b).max() for a, b in zip(after[weights], before[weights])]
  assert np.mean(np.array(moved) > 1e-4) > 0.9
  for a, b in zip(after, wanted_after, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)


def test_the_naive_way_of_images_computes_all_that_is_there(models):
  model, (work,) = models.showo, IMAGES.naive(models, rng())
  found = flop_count.count_flops(work.call, *work.arguments).flops * work.scale
  length = IMAGES.text + 1 + IMAGES.grid**2 + 2
  once = flop_count.decoder_flops(model.config.decoder, length, length)
  once += flop_count.head_flops(
    model.config.decoder, length, model.config.vocab.size
  )
  assert found == pytest.approx(2 * IMAGES.count * IMAGES.steps * once)
  drawn = np.asarray(work.call(*work.arguments))
  start = IMAGES.text + 2
  hidden = (drawn[:, start : start + 64] == model.config.vocab.mask).mean()
  assert 0 < hidden < 1


@pytest.mark.parametrize(
  'workload, most', [(IMAGES, 5), (WRITTEN, 12), (ASKED, 3), (CHOSEN, 3)]
)
def test_what_is_read_are_the_weights_for_each_pass(models, workload, most):
  """No more than the products of the program read."""
  model = models.showo
  once = sum(leaf.nbytes for leaf in jax.tree.leaves(model.decoder.layers))
  work = workload.ours(models, rng())
  least = workload.useful(models).bytes
  executed = flop_count.count_flops(
    work.call, *work.arguments, trips=work.trips
  ).bytes
  assert most * once < least < executed


@pytest.mark.parametrize('workload', [WRITTEN, ASKED, CHOSEN])
def test_the_naive_way_of_text_reads_every_row_again(models, workload):
  model, works = models.showo, workload.naive(models, rng())
  assert len(works) == getattr(workload, 'naive_calls', 1)
  assert sum(work.scale for work in works) == pytest.approx(workload.calls())
  for work in works:
    _, tokens, _ = work.arguments
    length = len(tokens)
    wanted = flop_count.decoder_flops(model.config.decoder, length, length)
    wanted += flop_count.head_flops(
      model.config.decoder, length, model.config.vocab.size
    )
    assert flop_count.count_flops(work.call, *work.arguments).flops == wanted
  shortest = 64 + 3 + 1 + workload.prompt
  most = shortest + workload.tokens - (workload is not CHOSEN)
  assert shortest <= length <= most


def test_the_job_writes_a_row_for_each_workload_and_precision(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(measurement, 'SIDE', 64)
  small = [
    {
      'name': 'draw',
      'images': {
        'count': 1,
        'grid': 4,
        'steps': 2,
        'guidance': 1.0,
        'text': 8,
        'naive_steps': 1,
      },
    },
    {'name': 'read', 'pixels': {'count': 2, 'size': 8, 'decode': False}},
    {
      'name': 'write',
      'replies': {
        'images': 1,
        'each': 2,
        'shared': True,
        'grid': 4,
        'prompt': 4,
        'tokens': 3,
        'naive_calls': 1,
      },
    },
    {
      'name': 'choose',
      'choices': {
        'images': 1,
        'each': 2,
        'choices': 2,
        'grid': 4,
        'prompt': 4,
        'tokens': 2,
      },
    },
    {
      'name': 'learn',
      'steps': {
        'pairs': 1,
        'grid': 4,
        'text': 8,
        'prompt': 4,
        'reply': 3,
        'label_rows': 8,
      },
    },
  ]
  said = []
  console = terminal.Console(said.append, lambda label: lambda x: x)
  config = configured(workloads=small, precisions=('float32', 'bfloat16'))
  rows = benchmark.run(config, str(tmp_path), console)
  assert [(r['workload'], r['precision']) for r in rows] == [
    ('draw', 'float32'),
    ('read', 'float32'),
    ('write', 'float32'),
    ('choose', 'float32'),
    ('learn', 'float32'),
    ('draw', 'bfloat16'),
    ('write', 'bfloat16'),
    ('choose', 'bfloat16'),
    ('learn', 'bfloat16'),
  ]
  assert json.loads((tmp_path / 'results.json').read_text())['rows'] == rows
  for row in rows:
    assert 0 < row['seconds'] and 0 < row['naive_seconds']
    assert row['useful_flops'] <= row['executed_flops']
    has = torch_phi.is_installed() and row['workload'] in (
      'write',
      'choose',
      'learn',
    )
    assert ('torch_seconds' in row) == has
  lines = (tmp_path / 'table.md').read_text().splitlines()
  assert len(lines) == 11 and len({line.count('|') for line in lines}) == 1


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'precisions': ('float8',)}, "or 'bfloat16', got 'float8'"),
    (
      {'workloads': [{'name': 'x'}]},
      'x must have one of images, replies, choices, steps and pixels',
    ),
    (
      {
        'workloads': [
          {
            'name': 'x',
            'images': {
              'count': 1,
              'grid': 4,
              'steps': 2,
              'guidance': 1.0,
              'text': 8,
              'naive_steps': 3,
            },
          }
        ]
      },
      'naive_steps must be at most steps=2, got 3',
    ),
    (
      {'tokenizer': None},
      'tokenizer must have sizes for workloads with pixels',
    ),
    ({'repeats': 0}, 'repeats must be at least 1, got 0'),
  ],
)
def test_what_cannot_be_timed_is_refused(changes, said):
  with pytest.raises(ValueError, match=said):
    configured(**changes)
