"""Whole runs that several tests read, made once for all test processes."""

from collections.abc import Iterator
import json
import pathlib
import time
from unittest import mock

import chat_server
import command_runs
import pytest
import shared_folders
import small_judge
import small_show_o
import small_walk
import text_encoders
import tiny_world

from hermesflow_jax.runtime import interrupts


@pytest.fixture(scope='session')
def once(tmp_path_factory):
  """Returns a function that does named work once; see `shared_folders`."""
  return lambda name, work: shared_folders.do_once(tmp_path_factory, name, work)


@pytest.fixture(
  scope='session', params=[256, pytest.param(512, marks=pytest.mark.slow)]
)
def case(request, once) -> small_walk.Walk:
  """The small Show-o as the documented command writes it."""
  name, codes = f'walk_{request.param}', (request.param // 16) ** 2

  def write(root):
    small_show_o.write(root / name / 'small', codes)
    small_walk.Walk(root / name, request.param).write_few()

  return small_walk.Walk(once(name, write) / name, request.param)


@pytest.fixture(scope='session')
def converted(case, once) -> small_walk.Walk:
  """The model, the image tokenizer and text encoders are converted."""

  def convert(root):
    case.convert('showo', 'small/showo', str(case.base))
    case.convert('magvitv2', 'small/magvitv2', 'small/checkpoints/magvitv2')
    small_judge.convert_encoders(case)

  once(f'converted_{case.pixels}', convert)
  return case


@pytest.fixture(scope='session')
def played(converted, once) -> small_walk.Walk:
  """Two rounds of self-play with a judge that died are in runs/pair_dpo."""
  once(f'played_{converted.pixels}', lambda root: small_judge.play(converted))
  return converted


@pytest.fixture(scope='session')
def generated(played, once) -> pathlib.Path:
  """The trained model drew."""
  once(
    f'generated_{played.pixels}',
    lambda root: played.job(
      'generate',
      '--config.init_from=runs/pair_dpo',
      '--config.images_per_prompt=2',
      '--config.sampler.steps=2',
    ),
  )
  return played.folder / 'runs' / 'generate'


@pytest.fixture(scope='session')
def curated(played, once) -> pathlib.Path:
  """The trained model made pairs."""
  once(
    f'curated_{played.pixels}',
    lambda root: played.job(
      'curate', '--config.init_from=runs/pair_dpo', *small_walk.CURATED
    ),
  )
  return played.folder / 'runs' / 'curate'


@pytest.fixture(scope='session')
def learned(played, curated, once) -> pathlib.Path:
  """The trained model learned from pairs of its own, split over `model`."""
  once(
    f'learned_{played.pixels}',
    lambda root: played.job(
      'learn',
      '--config.init_from=runs/pair_dpo',
      f'--config.pairs={curated}',
      f'--config.optim.steps={small_walk.STEPS}',
      '--config.optim.warmup=0.0',
      '--config.batch=1',
      devices=2,
    ),
  )
  return played.folder / 'runs' / 'learn'


@pytest.fixture(scope='session')
def tuned(played, learned, once) -> pathlib.Path:
  """The learned model was fine-tuned, with a stop after the first step."""

  def run(root):
    flags = ('--config.init_from=runs/learn', *small_walk.TUNED)
    stops = iter([True])
    with mock.patch.object(
      interrupts.StopSignal, '__call__', lambda self: next(stops, False)
    ):
      played.job('pretrain', *flags, code=130)
    played.job('pretrain', *flags)

  once(f'tuned_{played.pixels}', run)
  return played.folder / 'runs' / 'fine_tune'


@pytest.fixture(scope='session')
def returned(played, once) -> pathlib.Path:
  """The trained model is in the official layout again."""
  once(
    f'returned_{played.pixels}',
    lambda root: played.convert(
      'showo', 'runs/pair_dpo', 'hermesflow_pytorch', '--reverse'
    ),
  )
  return played.folder / 'hermesflow_pytorch'


@pytest.fixture(scope='session')
def judge() -> Iterator[chat_server.Server]:
  """An endpoint that judges the runs of this process and of those it starts."""
  with chat_server.Server() as server:
    yield server


@pytest.fixture(scope='session')
def place(once, judge) -> command_runs.Place:
  """A tiny bundle that runs start from, text encoders and a judge."""

  def write(root):
    for kind in ('bert', 'mpnet'):
      text_encoders.convert_to(root / 'tiny_encoders' / kind, kind)

  # Tests of other folders write the same bundle.
  root = once('tiny_base', lambda root: tiny_world.bundle(root / 'tiny_base'))
  encoders = once('tiny_encoders', write) / 'tiny_encoders'
  return command_runs.Place(
    root / 'tiny_base',
    (
      '--config.play.caption_scorer=bert',
      f'--config.play.encoders.bert={encoders / "bert"}',
      '--config.play.answer_matcher=sentence',
      f'--config.play.encoders.sentence={encoders / "mpnet"}',
      '--config.judge.kind=endpoint',
      f'--config.judge.url={judge.url}',
      '--config.judge.model=a-model',
    ),
  )


@pytest.fixture(scope='session')
def whole(place, once) -> pathlib.Path:
  """The folder of a run that nothing stopped."""

  def run(root):
    place.run(root / 'one_process', **command_runs.RARELY)

  return once('one_process', run) / 'one_process'


@pytest.fixture(scope='session')
def seconds(place, once) -> float:
  """Seconds of a process that runs from its start to its end."""

  def run(root):
    began = time.monotonic()
    command_runs.ended(place.start(root / 'measured'))
    (root / 'measured.seconds').write_text(f'{time.monotonic() - began}')

  return float((once('measured', run) / 'measured.seconds').read_text())


@pytest.fixture(scope='session')
def whole_of_two(place, judge, once) -> pathlib.Path:
  """The folder of a run of two processes that nothing stopped.

  `two_processes.requests` has the requests to its judge. The same processes
  evaluated the base model, in `two_processes.evaluated`.
  """

  def run(root):
    first = len(judge.bodies)
    for process in place.start_all(
      root / 'two_processes',
      then=place.evaluation(root / 'two_processes.evaluated'),
      **command_runs.RARELY,
    ):
      command_runs.ended(process)
    requests = json.dumps(judge.bodies[first:])
    (root / 'two_processes.requests').write_text(requests)

  return once('two_processes', run) / 'two_processes'
