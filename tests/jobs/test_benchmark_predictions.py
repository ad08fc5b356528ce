"""Drawings of benchmarks: batches, stops in their midst, files that are gone."""

import json

import numpy as np
import pytest

from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import registry
from hermesflow_jax.jobs.setup import benchmark_predictions
from hermesflow_jax.jobs.setup import benchmark_results
from hermesflow_jax.jobs.setup import benchmark_sets
from hermesflow_jax.jobs.setup import drawing_answers
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import search
from hermesflow_jax.sampling import search_settings

IMAGES = 4


class Stub:
  """A model whose drawings depend on their names alone."""

  def __init__(self, stop_at=None):
    self.drawn, self.stop_at = [], stop_at

  def draw(self, names, captions, count, sampler, seed):
    if len(self.drawn) == self.stop_at:
      raise KeyboardInterrupt
    self.drawn.append(list(names))
    numbers = np.repeat([int(name) for name in names], count)
    return numbers.reshape(len(names), count, 1)

  def decode(self, codes):
    return np.broadcast_to(
      codes[..., None, None], (len(codes), 8, 8, 3)
    ).astype(np.uint8)


@pytest.fixture
def entry(monkeypatch):
  """Three prompts of GenEval, two in a batch."""
  monkeypatch.setattr(benchmark_predictions, 'GROUP', 2 * IMAGES)
  rows = [
    protocol.DrawingPrompt(
      f'{n}',
      f'prompt {n}',
      tuple(f'{n}/{image}.png' for image in range(IMAGES)),
      (
        {'id': 'a', 'question': 'q', 'choices': ['yes', 'no'], 'answer': 'yes'},
      ),
      {'tag': 'colors'},
    )
    for n in range(3)
  ]
  benchmark = registry.make('geneval')
  return benchmark_sets.BenchmarkSet(benchmark, rows, 3, 'official', ())


def predict(entry, folder, stub, *more):
  def judge(codes, questions):
    return [['yes'] * len(own) for own in questions]

  benchmark_predictions.Predictor(
    stub,
    drawing_answers.DrawingAnswers(stub, judge, False),
    None,
    0,
    terminal.silent(),
    *more,
  ).predict(entry, folder)
  return (folder / 'predictions.jsonl').read_text()


def test_a_run_killed_while_it_draws_draws_only_the_rest(entry, tmp_path):
  whole = predict(entry, tmp_path / 'whole', Stub())
  with pytest.raises(KeyboardInterrupt):
    predict(entry, tmp_path / 'killed', Stub(stop_at=1))
  assert not (tmp_path / 'killed' / 'predictions.jsonl').exists()
  stub = Stub()
  assert predict(entry, tmp_path / 'killed', stub) == whole
  assert stub.drawn == [['2']]
  assert len(list((tmp_path / 'killed' / 'images').rglob('*.png'))) == 12


def test_a_drawing_that_is_gone_or_cut_is_drawn_again(entry, tmp_path):
  whole = predict(entry, tmp_path, Stub())
  image = tmp_path / 'images' / '0' / '3.png'
  content = image.read_bytes()
  for damaged in (None, content[:40]):
    image.unlink()
    if damaged:
      image.write_bytes(damaged)
    stub = Stub()
    assert predict(entry, tmp_path, stub) == whole
    assert stub.drawn == [['0', '1']]
    assert image.read_bytes() == content


def test_a_record_has_the_answers_of_the_judge(entry, tmp_path):
  lines = predict(entry, tmp_path, Stub()).splitlines()
  assert len(lines) == 3 * IMAGES
  assert json.loads(lines[0]) == {
    'id': '0',
    'prompt': 'prompt 0',
    'file': '0/0.png',
    'answers': {'a': 'yes'},
  }


def test_searched_drawings_are_counted_in_passes(entry, tmp_path, monkeypatch):
  def draw(unified, names, prompts, count, sampler, seed, settings, questions):
    assert settings.candidates == 8 and questions[0][0]['answer'] == 'yes'
    codes = unified.draw(names, prompts, count, sampler, seed)
    return codes, np.full((len(names), count), 60.0 + len(names))

  monkeypatch.setattr(search, 'draw', draw)
  lines = predict(entry, tmp_path, Stub(), search_settings.Search(8))
  assert json.loads(lines.splitlines()[0])['decoder_passes'] == 62.0
  result = benchmark_results.of_benchmark(entry, {'own': tmp_path})
  mean = (2 * 62 + 61) / 3
  assert result['decoder_passes'] == {'own': pytest.approx(mean)}
  table = benchmark_results.summary_text({'geneval': result})
  assert '(decoder passes per image)' in table and '61.67' in table
