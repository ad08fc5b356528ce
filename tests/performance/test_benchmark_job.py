"""The benchmark writes its table, and refuses settings that it cannot time."""

import json

import benchmark_settings
import pytest

from hermesflow_jax.jobs import benchmark
from hermesflow_jax.performance.benchmark import measurement
from hermesflow_jax.performance.benchmark import torch_phi
from hermesflow_jax.runtime import terminal


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
        'replies_per_image': 2,
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
        'questions_per_image': 2,
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
  output = []
  console = terminal.Console(output.append, lambda label: lambda x: x)

  def run(folder, workloads, *precisions, **changes):
    config = benchmark_settings.configured(
      workloads=workloads, precisions=precisions, **changes
    )
    rows = benchmark.run(config, str(folder), console)
    assert json.loads((folder / 'results.json').read_text())['rows'] == rows
    lines = (folder / 'table.md').read_text().splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({line.count('|') for line in lines}) == 1
    return rows

  draw, read, write, choose, steps = small
  rows = run(tmp_path / 'both', [read, choose], 'float32', 'bfloat16')
  rows += run(
    tmp_path / 'half', [draw, write, steps], 'bfloat16', tokenizer=None
  )
  assert [(r['workload'], r['precision']) for r in rows] == [
    ('read', 'float32'),
    ('choose', 'float32'),
    ('choose', 'bfloat16'),
    ('draw', 'bfloat16'),
    ('write', 'bfloat16'),
    ('learn', 'bfloat16'),
  ]
  for row in rows:
    assert 0 < row['seconds'] and 0 < row['naive_seconds']
    assert row['useful_flops'] <= row['executed_flops']
    has = torch_phi.is_installed() and row['workload'] in (
      'write',
      'choose',
      'learn',
    )
    assert ('torch_seconds' in row) == has


@pytest.mark.parametrize(
  'changes, output',
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
def test_what_cannot_be_timed_is_refused(changes, output):
  with pytest.raises(ValueError, match=output):
    benchmark_settings.configured(**changes)
