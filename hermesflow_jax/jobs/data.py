"""Checks a data set and summarizes it, before anything learns from it."""

from __future__ import annotations

import dataclasses
import pathlib
import typing

import numpy as np

from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import initial_model
  from hermesflow_jax.curation import official_input_writer
  from hermesflow_jax.data import image_reader
  from hermesflow_jax.data import record_files
  from hermesflow_jax.data import tifa_questions
  from hermesflow_jax.data.sources import example_checks
  from hermesflow_jax.data.sources import examples
  from hermesflow_jax.data.sources import inspection
  from hermesflow_jax.data.sources import rows
  from hermesflow_jax.data.sources import summary
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import tokenizer_hashes
  from hermesflow_jax.reports import data_page
  from hermesflow_jax.sequences import known_words
  from hermesflow_jax.sequences import text_tokenizer

# Side of an image on the contact sheet, in pixels.
_THUMBNAIL = 192
# Questions with equal choices that the results name.
_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Settings:
  """Job settings.

  Attributes:
    files: the data set. With on_error 'raise' a fault ends the job and nothing
      is written; with 'skip' the page lists the faults.
    text: text tokenizer that measures captions; '' for the embedded world's.
    caption_tokens: longest caption of a row in tokens, with its first and last
      token; longer captions are counted.
    pixels: side of the images that a model reads; smaller images are counted.
    decode: whether all pixels are read, which finds truncated images;
      otherwise only the headers.
    sheet: examples on the contact sheet.
    threads: reading threads.
    official: whether to write `initial_data.json` and `vqa_data.json`, too, for
      the official code.
  """

  files: record_files.Source
  text: str = settings.path_of_content('text_tokenizer')
  caption_tokens: typing.Annotated[int, settings.at_least(3)]
  pixels: settings.PositiveInt
  decode: bool = settings.may_change_on_resume()
  sheet: settings.NonNegativeInt = settings.may_change_on_resume()
  threads: settings.PositiveInt = settings.may_change_on_resume()
  official: bool = settings.may_change_on_resume(default=False)

  def __post_init__(self):
    settings.check(self)


@workdir_claim.releases_workdir
def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Checks all records; writes `summary.json` and `data.html`.

  Returns:
    Content of `summary.json`.

  Raises:
    ValueError: the data set cannot be read, has no example, or has faults and
      `files.on_error` is 'raise'. Nothing is written then.
  """
  if not config.files.annotations:
    raise ValueError(
      "files.annotations must be a file, folder, shards or dataset, got ''; "
      'give --config.files.annotations=captions_val2017.json'
    )
  text = text_tokenizer.load(
    config.text or str(initial_model.ASSETS / 'shapes' / 'text.json')
  )
  data = record_files.open_rows(config.files)
  questions = None
  if config.files.questions:
    questions = tifa_questions.QuestionIndex(
      config.files.questions, console.say
    )
  checker = _checker(config.files, data, questions)
  counts = summary.Summary(
    text, config.caption_tokens, config.pixels, data.has_repeated_ids
  )
  facts = inspection.inspect_all(data, checker, config.decode, config.threads)
  progress = console.progress('checking records')
  equal_choices, repeated = [], []
  for _, fact in zip(progress(range(len(data))), facts):
    counts.add(fact)
    equal_choices += _equal_choices(text, fact)
    repeated += [f'{fact.place}: {name}' for name in fact.repeated]
  if questions:
    counts.add_questions(questions.faults, questions.ids())
  origin = config.files.annotations
  rows.report_unread(data, origin, console.say)
  examples.report_repeated(repeated, origin, console.say)
  counts.raise_if_unusable(config.files.on_error, origin)
  results = {
    'name': origin,
    'form': data.form,
    'captions_without_image': data.orphans,
    'text_files_without_image': list(data.orphan_files),
  } | counts.to_json_types()
  results['questions']['equal_choices'] = {
    'count': len(equal_choices),
    'first': equal_choices[:_NAMED],
  }
  valid = examples.ValidRecords(data, checker, counts.valid)
  samples = _samples(valid, config.sheet)
  workdir_claim.claim_workdir(
    workdir,
    config,
    console,
    contents={'text_tokenizer': lambda: tokenizer_hashes.text_hash(text)},
    data=record_files.file_hashes(config.files),
  )
  root = storage.path(workdir)
  if config.official:
    official_input_writer.write_inputs(root / 'official', valid, console.say)
  page = data_page.render_page(results, samples, console.command)
  output_files.write_atomically(root / 'data.html', page)
  job_results.write_json(root / 'summary.json', results)
  _report(results, root, console)
  return results


def _checker(files, data: rows.Rows, questions) -> example_checks.Checker:
  """Returns the checks of a record; questions are no condition."""
  return example_checks.Checker(
    examples.image_folder_of(data, files.images),
    questions,
    needs_questions=False,
    drops_questions=data.form == 'journeydb' and files.on_error == 'skip',
    text_only='keep' if data.form == 'llava' else 'refuse',
  )


def _equal_choices(
  text: text_tokenizer.TextTokenizer, fact: inspection.Facts
) -> list[str]:
  """Returns a text per question whose choices the model cannot distinguish."""
  if fact.faults or not fact.example:
    return []
  texts = []
  for question in fact.example['questions']:
    try:
      known_words.check_choices(text, question['choices'])
    except ValueError as error:
      texts.append(f'{fact.place}: {error}')
  return texts


def _samples(
  valid: examples.ValidRecords, count: int
) -> list[tuple[np.ndarray, str, str]]:
  """Returns (uint8[H, W, 3], id, caption) of examples at equal distances.

  Args:
    valid: examples; those of text alone are left out.
    count: number of samples.
  """
  count = min(count, len(valid))
  chosen = [valid[n * len(valid) // count] for n in range(count)]
  samples = []
  for example in chosen:
    if example['path'] is None:
      continue
    try:
      pixels = image_reader.load_image(example['path'], _THUMBNAIL)
    except ValueError:
      # With decode=False only the header was read.
      continue
    samples.append((pixels, example['id'], example['caption']))
  return samples


def _report(
  results: dict, root: pathlib.PurePath, console: terminal.Console
) -> None:
  """Prints the counts, the notes and the first faults of each kind."""
  console.say(data_page.lead_sentence(results))
  for name, count in data_page.count_rows(results):
    console.say(f'  {name.lower():40} {count:>10,}')
  tokens = results['captions']['tokens']
  if tokens:
    console.say(
      f'captions: {tokens["least"]} to {tokens["most"]} tokens, median '
      f'{tokens["median"]}'
    )
  for kind, fault in results['faults'].items():
    console.say(f'{fault["count"]} faults of {kind}, e.g. {fault["first"][0]}')
  for note in data_page.notes(results):
    console.say(note)
  console.say(f'see {root / "data.html"} and {root / "summary.json"}')
