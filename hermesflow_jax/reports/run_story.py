"""Collects the files that a finished run left and writes its report."""

import io
import itertools
import json
import pathlib

import numpy as np

from hermesflow_jax.curation import pair_files
from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.reports import imported_judges
from hermesflow_jax.reports import run_page
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage


def _lines(path: pathlib.PurePath) -> list[dict]:
  if not path.exists():
    return []
  with storage.open_text(path) as file:
    try:
      return [json.loads(line) for line in file]
    except (ValueError, RecursionError) as error:
      raise output_files.damaged(path, error) from error


def _codes(path: pathlib.PurePath) -> np.ndarray:
  try:
    return np.load(io.BytesIO(path.read_bytes()))['codes']
  except paired_changes.DAMAGE as error:
    raise paired_changes.damaged(path, error) from error


def _share(scene: dict, questions: list[dict]) -> str:
  right = input_set.correct_answers(scene['judged'], questions)
  return f'{sum(right)}/{len(right)}'


def gallery(root: pathlib.PurePath, last: int, data, unified, count: int):
  """Returns held-out scenes with images by the base and the last model.

  The scenes are the first in the held-out set, without selection.

  Args:
    root: run folder.
    last: last round.
    data: inputs and held-out scenes.
    unified: model whose tokenizer decodes the images.
    count: maximum number of scenes.
  """
  inputs = data.held_out
  count = min(count, len(inputs))
  scenes = [_lines(root / f'round_{r}' / 'scenes.jsonl') for r in (0, last)]
  images = [
    unified.decode(_codes(root / f'round_{r}' / 'scenes.npz')[:count])
    for r in (0, last)
  ]
  real = unified.decode(inputs.codes[:count])
  return [
    run_page.Sample(
      caption=inputs.captions[n],
      real=real[n],
      before=images[0][n],
      before_right=_share(scenes[0][n], inputs.questions[n]),
      after=images[1][n],
      after_right=_share(scenes[1][n], inputs.questions[n]),
    )
    for n in range(count)
  ]


def pair_samples(
  root: pathlib.PurePath, number: int, data, unified, count: int
):
  """Returns the first inputs with a caption pair and an image pair.

  Args:
    root: run folder.
    number: round, from 1.
    data: inputs and held-out scenes.
    unified: model that answers the questions and decodes the images.
    count: maximum number of inputs.
  """
  inputs = data.inputs[number - 1]
  pairs = pair_files.read_pairs(root / f'round_{number}')
  positions = disk_names.places(inputs.ids)
  # A round of an earlier release may have taken inputs of the next.
  all_complete = (
    (name, und, gen)
    for name, (und, gen) in pairs.items()
    if not und.dropped and not gen.dropped and name in positions
  )
  complete = list(itertools.islice(all_complete, count))
  if not complete:
    return []
  index = [positions[name] for name, _, _ in complete]
  questions = [inputs.questions[n] for n in index]

  def side(pick):
    codes = np.stack([pick(gen).value for _, _, gen in complete])
    answers = unified.answer(codes, questions)
    rows = [
      [
        (question['question'], answer, question['answer'])
        for question, answer in zip(*of_image, strict=True)
      ]
      for of_image in zip(questions, answers, strict=True)
    ]
    return unified.decode(codes), rows

  win, win_answers = side(lambda pair: pair.win)
  lose, lose_answers = side(lambda pair: pair.lose)
  real = unified.decode(inputs.codes[index])
  return [
    run_page.PairSample(
      id=name,
      real=real[i],
      caption=inputs.captions[index[i]],
      caption_win=und.win.value,
      caption_score_win=und.win.score,
      caption_lose=und.lose.value,
      caption_score_lose=und.lose.score,
      image_win=win[i],
      vqa_score_win=gen.win.score,
      answers_win=win_answers[i],
      image_lose=lose[i],
      vqa_score_lose=gen.lose.score,
      answers_lose=lose_answers[i],
      round=number,
    )
    for i, (name, und, gen) in enumerate(complete)
  ]


def judge_note(rounds: list[dict], record: dict) -> str:
  """Returns a note on a judge that does not read pixels; '' for the others.

  Args:
    rounds: rows in `results.json`.
    record: the judge in `results.json`; {} in those of earlier releases.
  """
  name = rounds[0]['judge']
  if name == 'pixels':
    return ''
  notes = [
    f'Round {row["round"]}: {row["note"]}' for row in rounds if row.get('note')
  ]
  if name == gap.BASE_MODEL:
    name = f'the {name}, not from their pixels'
  elif host := record.get('host'):
    name += f' at {host}'
  cost = record.get('usage')
  if cost:
    notes.append(
      f'It answered {cost["questions"]} questions; {cost["unmatched"]} replies '
      'resembled no choice and count as wrong.'
    )
  return ' '.join([f'Generated images were judged by {name}.', *notes])


def write_from_run(
  root: pathlib.PurePath, results: dict, data, base, count: int, command: str
) -> None:
  """Writes `report.html` for a finished run.

  Args:
    root: run folder.
    results: content for `results.json`.
    data: inputs and held-out scenes.
    base: base model; its answers are shown beside the pairs.
    count: maximum number of scenes, and of inputs with pairs.
    command: command that started the run; '' for none.
  """
  rounds = results['rounds']
  last = rounds[-1]['round']
  play = results['config']['play']
  training = [
    _lines(root / f'round_{row["round"]}' / 'training' / 'metrics.jsonl')
    for row in rounds[1:]
  ]
  run_page.write_page(
    str(root / 'report.html'),
    run_page.RunReport(
      title='HermesFlow self-play',
      command=command,
      rounds=rounds,
      note=judge_note(rounds, results.get('judge', {})),
      judge=results.get('judge', {}),
      imported=imported_judges.read(root),
      training=training,
      gallery=gallery(root, last, data, base, count),
      pairs=pair_samples(root, 1, data, base, count),
      settings=results['config'],
      seeds={'play': play['seed'], 'world': results['config']['world']['seed']},
      versions=results['versions'],
      seconds=results['seconds'],
      peak_memory=results['peak_memory_gib'] * 2**30,
    ),
  )
