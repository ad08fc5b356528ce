"""The GPU benchmark: each measurement apart, its programs ready for CUDA."""

import json

import gpu_settings
import numpy as np
import pretended_gpu
import pytest

from hermesflow_jax.command import command_flags
from hermesflow_jax.command import job_list
from hermesflow_jax.jobs import gpu_benchmark
from hermesflow_jax.performance.benchmark import cuda_lowering
from hermesflow_jax.performance.benchmark import gpu_report
from hermesflow_jax.performance.benchmark import gpu_runs
from hermesflow_jax.performance.benchmark import isolated_runs
from hermesflow_jax.performance.benchmark import measurement
from hermesflow_jax.performance.benchmark import workload_values
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal

ATTENTION = ('attention, XLA', 'attention, cuDNN')


def run(config, folder, lines=None):
  say = (lines if lines is not None else []).append
  console = terminal.Console(say, lambda label: lambda x: x)
  return gpu_benchmark.run(config, str(folder), console)


@pytest.fixture
def measured(monkeypatch):
  """Names that were measured; the process of the test stands in for others."""
  names, failing = [], {'b'}

  def measure(conditions, entries, root, name):
    del conditions, entries, root
    names.append(name)
    if name in failing:
      raise RuntimeError('RESOURCE_EXHAUSTED')
    return {'seconds': 2.0}

  def run_all(measure, groups, limit, deadline, report):
    del limit, deadline
    for name in [name for group in groups for name in group]:
      try:
        row = measure(name)
      except RuntimeError as error:
        row = {'error': str(error)}
      report(name, row)

  monkeypatch.setattr(gpu_runs, 'measure', measure)
  monkeypatch.setattr(isolated_runs, 'run_all', run_all)
  return names, failing


def test_the_same_command_runs_only_what_has_no_result(measured, tmp_path):
  names, failing = measured
  commands = tuple(
    {'name': name, 'group': 'x', 'command': (name,)} for name in 'abc'
  )
  config = gpu_settings.configured(measurements=commands, comparisons=())
  lines = []
  rows = run(config, tmp_path, lines)
  assert rows['b']['error'] == 'RESOURCE_EXHAUSTED'
  assert '1 of 3 measurements have no result' in lines[-2]
  assert 'b: RESOURCE_EXHAUSTED' in (tmp_path / 'table.md').read_text()
  failing.clear()
  rows = run(config, tmp_path)
  assert names == ['a', 'b', 'c', 'b']
  assert [row['seconds'] for row in rows.values()] == [2.0] * 3
  # A measurement with other settings has no result yet.
  changed = ({'name': 'a', 'group': 'x', 'command': ('other',)}, *commands[1:])
  run(gpu_settings.configured(measurements=changed, comparisons=()), tmp_path)
  assert names[4:] == ['a']
  saved = json.loads((tmp_path / 'results.json').read_text())['rows']
  assert list(saved) == ['a', 'b', 'c']


def test_commands_of_the_benchmark_can_be_started():
  commands = [
    e.command for e in gpu_settings.configured().measurements if e.command
  ]
  for command in commands:
    values, *_ = command_flags.read(['main.py', *command])
    job = job_list.import_job(values.pop('job'))
    settings.build(job.Settings, values)
  assert len(commands) == 1


# Programs of sampling and training, and cuDNN where it is called.
LOWERED = (
  'images of 256 px',
  'the same with 4 choices',
  *ATTENTION,
  'step, 256 px, cuDNN',
)


def test_programs_lower_for_cuda_without_a_gpu(tmp_path, monkeypatch):
  pretended_gpu.patch(monkeypatch)
  config = gpu_settings.configured(LOWERED, only_lower=True)
  rows = run(config, tmp_path / 'none')
  assert list(rows) == [e.name for e in config.measurements]
  calls = {name for name, row in rows.items() if row['cudnn_calls']}
  assert calls == {name for name in LOWERED if 'cuDNN' in name}
  assert all(row['argument_bytes'] > 0 for row in rows.values())
  assert not (tmp_path / 'none').exists()


def test_a_program_with_cudnn_is_named_where_cudnn_is_missing(tmp_path):
  lines = []
  names = (*ATTENTION, 'step, 256 px, cuDNN')
  config = gpu_settings.configured(names, only_lower=True)
  rows = run(config, tmp_path, lines)
  assert 'cudnn_calls' in rows['attention, XLA']
  assert lines[1:] == [
    f'{name}: not lowered (cuDNN is not detected.)' for name in names[1:]
  ]


def test_the_memory_of_a_program_is_known_before_it_runs():
  config = gpu_settings.configured(ATTENTION[:1])
  (entry,) = config.measurements
  sizes = gpu_benchmark.conditions(config).transformer(entry.form)
  work = cuda_lowering.abstract_work(
    entry.workload.workload, sizes, None, fused=True
  )
  arguments = cuda_lowering.lower(work)['argument_bytes']
  assert cuda_lowering.compiled_bytes(work) >= arguments


def test_a_measurement_writes_values_and_its_longest_kernels(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(measurement, 'SIDE', 64)
  config = gpu_settings.configured(ATTENTION[:1])
  (entry,) = config.measurements
  entry = {entry.name: gpu_settings.profiled(entry)}
  (name,) = entry
  row = gpu_runs.measure(
    gpu_benchmark.conditions(config), entry, tmp_path, name
  )
  assert 0 < row['seconds'] and row['machine']['device']
  assert len(row['kernels']) <= 10
  shares = [kernel['share'] for kernel in row['kernels']]
  assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1.001
  values = gpu_runs.load_values(tmp_path, name)
  assert values['output'].shape == (2, 18, 4, 16)
  assert workload_values.difference(values, values) == dict.fromkeys(values, 0)
  row['settings'] = {'goal': 1.5}
  text = gpu_report.tables({name: row}, (), {})
  assert '| attention, XLA |' in text and '| kernel | calls |' in text


def test_numbers_and_codes_are_compared():
  first = {'loss': np.float32([2, -4]), 'codes': np.array([1, 2, 3, 4])}
  second = {'loss': np.float32([2, -3]), 'codes': np.array([1, 2, 3, 0])}
  assert workload_values.difference(first, second) == {
    'loss': 0.25,
    'codes': 0.25,
  }


@pytest.mark.parametrize(
  'changes, expected',
  [
    (
      {'comparisons': ({'name': 'x', 'first': 'y', 'second': 'z'},)},
      "comparisons must name measurements, got 'y' in 'x'",
    ),
    (
      {'measurements': ({'name': 'x', 'group': 'y'},), 'comparisons': ()},
      'x must have either a workload or a command, got none',
    ),
    ({'only_compile': True}, 'only_compile must be given with only_lower'),
    ({'minutes': 0.0}, 'minutes must be more than 0, got 0.0'),
  ],
)
def test_unusable_settings_are_refused(changes, expected):
  with pytest.raises(ValueError, match=expected):
    gpu_settings.configured(**changes)
