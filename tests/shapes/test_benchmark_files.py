"""Benchmarks made from scenes have the forms that official readers read."""

import pytest

from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import registry
from hermesflow_jax.shapes import benchmark_files
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import pixel_judge
from hermesflow_jax.shapes import scene_sampler

COUNT = 12


@pytest.fixture(params=benchmark_files.FORMS)
def benchmark(request, tmp_path):
  """A benchmark and what its reader makes of the files."""
  path = benchmark_files.write(request.param, tmp_path, COUNT)
  images = str(tmp_path) if request.param == 'coco' else ''
  benchmark = registry.make(request.param)
  files = protocol.BenchmarkFiles(
    str(path), images, '', reply_words=benchmark_files.REPLY_WORDS
  )
  return benchmark, benchmark.read(files).rows


def test_right_answers_about_the_scenes_get_every_point(benchmark):
  benchmark, rows = benchmark
  scenes = [scene_sampler.sample_scene('eval', 0, n) for n in range(COUNT)]
  pixels = [drawing.render(scene) for scene in scenes]
  words = dict(word.split('=') for word in benchmark_files.REPLY_WORDS)
  if isinstance(benchmark, protocol.UnderstandingBenchmark):
    replies = {}
    for row in rows:
      number = int(str(row.image).rpartition('/')[2].partition('.')[0])
      (text,) = pixel_judge.answer_questions(
        pixels[number], [{'question': row.prompt}]
      )
      replies[row.id] = (
        text if benchmark.name == 'vqav2' else words.get(text, text)
      )
    for scores in benchmark.score(rows, replies):
      assert set(scores.rows.values()) == {1}
    return
  assert [row.prompt for row in rows] == [scene.caption for scene in scenes]
  answers = {
    file: dict(
      zip(
        [question['id'] for question in row.questions],
        pixel_judge.answer_questions(image, row.questions),
        strict=True,
      )
    )
    for row, image in zip(rows, pixels, strict=True)
    for file in row.files
  }
  for scores in benchmark.score(rows, answers):
    assert scores.headline in (1, 100)


def test_half_of_the_yes_or_no_questions_are_no(benchmark):
  benchmark, rows = benchmark
  if benchmark.name in ('pope', 'mme'):
    labels = [row.reference['label'] for row in rows]
    assert labels.count('yes') == labels.count('no')
