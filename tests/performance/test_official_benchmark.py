"""The official code gets the rows of this library, and both sides take turns."""

import functools
import json
import sys

import benchmark_settings
import jax
import numpy as np
import official_stand_in
import pytest

import configs.benchmark
from hermesflow_jax.jobs import official_benchmark
from hermesflow_jax.performance.benchmark import isolated_runs
from hermesflow_jax.performance.benchmark import official_checkout
from hermesflow_jax.performance.benchmark import own_times
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.performance.benchmark import workload_times
from hermesflow_jax.runtime import compilation_cache
from hermesflow_jax.runtime import freed_memory
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_to_image

IMAGES = {
  'count': 1, 'grid': 4, 'steps': 2, 'guidance': 1.0, 'text': 8,
  'naive_steps': 1,
}  # fmt: skip
REPLIES = {
  'images': 1, 'replies_per_image': 5, 'shared': True, 'grid': 4, 'prompt': 3,
  'tokens': 8, 'naive_calls': 2,
}  # fmt: skip
STEPS = {
  'pairs': 2, 'grid': 4, 'text': 8, 'prompt': 2, 'reply': 4, 'label_rows': 8,
}  # fmt: skip
WORKLOADS = (
  {'name': 'draw', 'images': IMAGES},
  {'name': 'write', 'replies': REPLIES},
  {'name': 'learn', 'steps': STEPS},
)


def configured(folder='', **changes):
  config = configs.benchmark.get_config('official').to_dict()
  assert config.pop('job') == 'official_benchmark'
  small = {
    name: benchmark_settings.SIZES[name] for name in ('vocab', 'decoder')
  }
  config |= small | {'official': str(folder), 'official_python': sys.executable}
  return settings.build(
    official_benchmark.Settings, config | {'workloads': WORKLOADS} | changes
  )


@pytest.fixture(scope='module')
def sizes():
  config = configured()
  return workload_times.transformer_sizes(
    config.vocab, config.decoder, 'float32'
  )


@pytest.fixture(scope='module')
def official(tmp_path_factory, sizes):
  """{name of a workload: (its times, the calls that the checkout got)}."""
  results = {}
  for named in configured().workloads:
    folder = official_stand_in.write(tmp_path_factory.mktemp(named.name))
    checkout = official_checkout.Checkout(str(folder), sys.executable, 60.0)
    row = checkout.measure(named, sizes, 1, 1, 0)
    results[named.name] = row, official_stand_in.calls(folder)
  return results


def test_the_official_model_has_the_sizes_of_ours(official, sizes):
  for _, (model, *_) in official.values():
    assert model['sizes'] == official_checkout.decoder_file(sizes)
    assert model['sizes']['vocab_size'] == sizes.vocab.size
    assert model['codes'] == 16 and model['clip'] is False


def test_images_have_the_rows_the_steps_and_the_guidance_of_ours(
  official, sizes
):
  row, (_, *calls) = official['draw']
  assert row.keys() == {'seconds', 'cpu_seconds', 'peak_bytes'}
  # The first is not timed.
  assert len(calls) == 2
  call = calls[-1]
  assert (call['steps'], call['guidance'], call['masks']) == (2, 1.0, 2)
  assert (call['codes'], call['text']) == (16, 8)
  for key, words in ('rows', call['rows'][0][2:8]), ('empty', []):
    (tokens,) = call[key]
    expected = text_to_image.t2i_rows(
      sizes.vocab, [words], np.zeros((1, 16), int), 8
    ).tokens[0]
    expected[10:26] = sizes.vocab.mask
    np.testing.assert_array_equal(tokens, expected)


def test_a_token_of_a_reply_reads_the_row_again(official, sizes):
  row, (_, *calls) = official['write']
  assert row['seconds'] > 0
  start = 3 + 16 + 1 + 3
  # A first call, then tokens spread over the reply.
  assert [len(c['rows'][0]) - start for c in calls] == [2, 2, 6]
  assert {c['tokens'] for c in calls} == {1}
  for call in calls:
    (tokens,) = call['rows']
    codes = np.array([tokens[2:18]]) - sizes.vocab.image_offset
    prompt = [tokens[20:23]]
    image, asked_row, _ = image_to_text.mmu_parts(
      sizes.vocab, codes, prompt, 16 + 4 + 3
    )
    head = np.concatenate([image.tokens[0], asked_row.tokens[0]])
    np.testing.assert_array_equal(tokens[:start], head)


def test_a_step_scores_both_sides_of_both_pairs_by_both_models(official, sizes):
  _, (_, *calls) = official['learn']
  per_step = ['loss'] * 4 + ['backward', 'step']
  assert [c['call'] for c in calls] == 2 * per_step
  losses = calls[:4]
  assert [c['model'] for c in losses] == ['policy'] * 2 + ['frozen'] * 2
  assert losses[0]['rows'] == losses[2]['rows'] != losses[1]['rows']
  for call in losses:
    assert (call['counts'], call['text'], call['masks']) == ([2, 2], 8, 4)
    tokens, labels = np.array(call['rows']), np.array(call['labels'])
    whole = np.where(labels == -100, tokens, labels)
    codes = whole[:2, 10:26] - sizes.vocab.image_offset
    expected = text_to_image.t2i_rows(
      sizes.vocab, tokens[:2, 2:8].tolist(), codes, 8
    )
    np.testing.assert_array_equal(whole[:2], expected.tokens)
    is_masked = labels[:2] != -100
    assert is_masked.any() and (tokens[:2][is_masked] == sizes.vocab.mask).all()
    codes = tokens[2:, 2:18] - sizes.vocab.image_offset
    expected = image_to_text.mmu_rows(
      sizes.vocab,
      codes,
      tokens[2:, 19:21].tolist(),
      tokens[2:, 21:24].tolist(),
      26,
    )
    # Official rows of learning lack the start of the text.
    expected = np.delete(expected.tokens, 19, axis=1)
    np.testing.assert_array_equal(tokens[2:, :25], expected)
    is_reply = labels[2:] != -100
    np.testing.assert_array_equal(is_reply.sum(-1), [4, 4])


def in_this_process(measure, groups, limit, deadline, report):
  del limit, deadline
  for name in [name for group in groups for name in group]:
    report(name, measure(name))


def run(config, folder, lines):
  console = terminal.Console(lines.append, lambda label: lambda x: x)
  return official_benchmark.run(config, str(folder), console)


def test_sides_take_turns_and_the_table_has_their_ratios(tmp_path, monkeypatch):
  times = {'flops': 2.0, 'peak_bytes': 2**30}
  sides = {'ours': 2.0, 'official': 8.0}
  order = []

  def measure(side, *args):
    order.append(side)
    seconds = sides[side] + len(order)
    return times | {'seconds': seconds, 'cpu_seconds': sides[side]}

  monkeypatch.setattr(isolated_runs, 'run_all', in_this_process)
  monkeypatch.setattr(own_times, 'measure', functools.partial(measure, 'ours'))
  monkeypatch.setattr(
    official_checkout.Checkout,
    'measure',
    lambda self, *args: measure('official'),
  )
  config = configured(
    official_stand_in.write(tmp_path / 'checkout'), workloads=WORKLOADS[:1]
  )
  lines = []
  (row,) = run(config, tmp_path / 'run', lines)
  assert order == ['ours', 'official'] * 2
  assert [t['seconds'] for t in row['turns']['ours']] == [3.0, 5.0]
  assert row['ours']['seconds'] == 4.0 and row['official']['seconds'] == 11.0
  assert row['ratios']['seconds'] == 2.75 and row['ratios']['cpu_seconds'] == 4
  results = json.loads((tmp_path / 'run/results.json').read_text())
  assert results['rows'] == [row]
  assert results['machine']['official']['torch'] == '0.stand-in'
  table = (tmp_path / 'run/table.md').read_text()
  assert '| draw | 4.00 | 11.00 | 2.75 x | 2.00 | 8.00 | 4.00 x |' in table
  assert lines[0] == 'draw, turn 1 of 2, ours: 3.00 s, 2.00 s of the CPU'


def test_ours_is_timed_as_a_command_runs_it(monkeypatch, sizes):
  order = []
  monkeypatch.setattr(freed_memory, 'keep', lambda: order.append('memory'))
  monkeypatch.setattr(
    compilation_cache, 'enable', lambda: order.append('cache')
  )

  def random_models(*args):
    order.append('models')

  class Product:
    def ours(self, models, rng):
      del models, rng
      return workload.Work(jax.jit(lambda a: a @ a), (np.ones((4, 4)),))

  monkeypatch.setattr(workload_times, 'random_models', random_models)
  row = own_times.measure(Product(), sizes, 1, 0, 'draw')
  assert order == ['memory', 'cache', 'models']
  assert row.keys() == {'seconds', 'cpu_seconds', 'flops', 'peak_bytes'}
  assert 0 < row['seconds'] and 0 < row['cpu_seconds']
  assert row['flops'] == 2 * 4**3 and row['peak_bytes'] > 2**20


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'official': ''}, "official must be a checkout of Gen-Verse.*, got ''; "),
    (
      {'official_python': '/nowhere/python'},
      "official_python must be a python interpreter, got '/nowhere/python'; ",
    ),
    (
      {'models': 'import a_missing_package\n'},
      "must have the packages of the checkout, .*'a_missing_package'",
    ),
    (
      {'models': 'raise RuntimeError("broken")\n'},
      'must end with exit code 0, got 1: RuntimeError: broken',
    ),
    ({'limit': 1e-3}, 'limit must be at least the seconds .*, got 0.001'),
  ],
)
def test_what_is_missing_is_named_in_one_line(tmp_path, changes, message):
  lines = {'modeling_showo': changes.pop('models', '')}
  folder = official_stand_in.write(tmp_path / 'checkout', **lines)
  config = configured(**{'official': str(folder)} | changes)
  with pytest.raises(ValueError, match=message) as error:
    run(config, tmp_path / 'run', [])
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  'work, message',
  [
    (
      {'name': 'x', 'attention': {'rows': 1, 'queries': 2, 'text': 1}},
      "must be of images, replies or steps, got 'x'",
    ),
    (
      {'name': 'x', 'steps': STEPS | {'reply': 7}},
      'prompt . reply of x must be at most text=8, .*, got 9',
    ),
  ],
)
def test_workloads_that_the_official_code_cannot_run_are_refused(work, message):
  with pytest.raises(ValueError, match=message):
    configured(workloads=(work,))
