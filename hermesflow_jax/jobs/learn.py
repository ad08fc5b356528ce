"""Trains a round on candidates from `curate` or pairs of the official code."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math
import pathlib
import time
import typing

from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.jobs.setup import reading_model
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import checkpoint
  from hermesflow_jax.checkpoints import trained_model
  from hermesflow_jax.curation import pair_selection
  from hermesflow_jax.data import input_faults
  from hermesflow_jax.data import lazy_images
  from hermesflow_jax.jobs.setup import curation_folder
  from hermesflow_jax.jobs.setup import frozen_model
  from hermesflow_jax.jobs.setup import group_source
  from hermesflow_jax.jobs.setup import job_model
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import model_hashes
  from hermesflow_jax.jobs.setup import pair_source
  from hermesflow_jax.jobs.setup import record_checks
  from hermesflow_jax.pair_dpo import candidate_groups
  from hermesflow_jax.pair_dpo import learning


@dataclasses.dataclass(frozen=True)
class Settings(reading_model.ReadingSettings, learning_config.LearningConfig):
  """Job settings.

  Attributes:
    pairs: curation folder, or a file from the official HermesFlow code, e.g.
      pair_dpo_data.json; see `curation.official_pair_reader`.
    round: round that trains on the pairs, from 1; random keys
      derive from it.
    reference: frozen reference model, given like `init_from` and read without
      `adapters`: the base model in later rounds if self-play has reference
      'base'; '' for the model that the round starts from. Method grpo measures
      its divergence from it.
    both: whether an input needs both pairs to be trained on.
    images: folder with an official file's images; '' for the folder that holds
      the file, or for absolute paths the working directory.
    least_win: an official file's winning image must score more than this, as
      in `pair_selection.PairRules`; `curate` has applied its rules already.
    on_error: 'raise' stops at a faulty record in an official file, 'skip'
      leaves it out and prints it.
  """

  pairs: str = settings.path_of_content('pairs')
  round: settings.PositiveInt = dataclasses.field(default=1, kw_only=True)
  reference: str = settings.path_of_content('frozen', default='', kw_only=True)
  both: bool
  images: str = settings.path_of_content('image_files', default='')
  least_win: settings.Fraction = settings.may_change_on_resume(
    default=0.6, kw_only=True
  )
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)] = (
    'raise'
  )

  def __post_init__(self):
    reading_model.ReadingSettings.__post_init__(self)
    learning_config.LearningConfig.__post_init__(self)
    reading_model.check_compat(self.vision, self.compat)
    if self.reference:
      self.objective.check_reference(self.reference, "''")
    if self.objective.answers.weight:
      raise ValueError(
        'objective.answers.weight must be 0 in learn, whose pairs come without '
        f'questions, got {self.objective.answers.weight}; pair_dpo has them'
      )
    if not self.pairs:
      raise ValueError(
        "pairs must be the folder of a curation, got ''; give runs/curate"
      )


@job_start.releases_workdir
def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Trains a round on existing pairs or candidate groups.

  Writes the trained model `model/`, then `results.json`.

  Returns:
    Content written to `results.json`: inputs, steps and seconds.

  Raises:
    ValueError: unusable setting, file or workdir.
  """
  began = time.perf_counter()
  path = job_model.locate(config, console)
  reference_config = frozen_model.reference_settings(config)
  reference_path = reference_config and job_model.locate(
    reference_config, console
  )
  with pair_source.open_pairs(config) as source:
    mesh = job_model.make_mesh(
      config, path, console, config.batch, config.optim.accumulate
    )
    identity = {
      'base': model_hashes.weight_hashes(config, path),
      'pairs': source.hashes,
    }
    if reference_config:
      identity['frozen'] = model_hashes.weight_hashes(
        reference_config, reference_path
      )
    contents = job_start.input_hashes(
      model_hashes.text_identity(config, path).sha256, source.images
    )
    if source.is_official:
      contents['least_win_of_files'] = lambda: config.least_win
    results = job_start.claim_and_read_results(
      workdir, config, console, 'results.json', contents=contents, **identity
    )
    root = storage.path(workdir)
    results = finished_results(root, results, console)
    if results is not None:
      job_start.report_finished(console, workdir, root / 'model')
      return results
    parts = job_model.load_parts(config, path, mesh)
    if not source.is_official:
      curation_folder.check_tokenizers(source.folder, parts, console)
    unified = job_model.place_on_mesh(
      config, parts, mesh, console, caption_prompt=config.caption_prompt
    )
    rows, images, summary = _read_rows(
      config, source, unified, root / 'data', console
    )
    reference = unified.model
    if reference_config:
      reference = frozen_model.load_reference(
        reference_config, reference_path, unified
      )
    steps = learning.step_count(config, len(rows))
    model = learning.learn_round(
      unified,
      reference,
      rows,
      config,
      steps,
      root / 'training',
      config.round,
      console,
      None,  # No samples.
      images,
    )
  results = {
    'inputs': len(rows),
    'steps': steps,
    'seconds': time.perf_counter() - began,
  } | summary
  # A model at this path is damaged.
  processes.on_first_process(lambda: checkpoint.remove(root / 'model'))
  trained_model.save_model(
    str(root / 'model'),
    dataclasses.replace(unified, model=model),
    str(path),
    results,
  )
  job_results.write_json(root / 'results.json', results)
  processes.on_first_process(
    lambda: storage.remove(root / 'training' / 'steps')
  )
  console.say(f'{steps} steps; --config.init_from={root / "model"} reads it')
  return results


def _read_rows(config, source, unified, data_dir, console):
  """Returns the records to train on, their images, and a group summary.

  The images are None for a model that reads codes.

  Args:
    config: job settings.
    source: pairs from `pair_source.open_pairs`. The images are readable until
      it is closed.
    unified: model to train.
    data_dir: folder that keeps encoded images.
    console: prints counts and warnings.
  """
  records = pair_source.read_pairs(config, source, unified, data_dir, console)
  codes, summary = unified.grid[0] * unified.grid[1], {}
  if config.objective.uses_groups:
    rows, summary = group_source.read_groups(
      config.objective,
      source.folder,
      pair_source.checked_records(records, codes),
    )
    for line in candidate_groups.summary_lines(summary):
      console.say(line)
  else:
    rows = trainable_records(records, codes, config.both)
  if source.is_official:
    record_checks.report_long_texts(unified, rows, console)
  unit = 'groups' if config.objective.uses_groups else 'pairs'
  console.say(f'{len(rows)} of {len(records)} inputs have {unit} to learn from')
  if config.batch > len(rows):
    console.say(
      f'warning: config.batch should be at most {len(rows)}, these inputs, got '
      f'{config.batch}: a step repeats them; give a smaller --config.batch'
    )
  images = None
  if unified.vision is not None:
    rows, readers = pair_source.without_pixels(rows)
    images = lazy_images.LazyImages(readers)
  return rows, images, summary


def finished_results(
  root: pathlib.PurePath, results: dict | None, console: terminal.Console
) -> dict | None:
  """Returns the results of a finished run; None if the run must learn.

  All processes call it. Results that are gone or damaged come from the record
  of the model. A model that is gone or damaged must be learned again.

  Args:
    root: run folder.
    results: content of `results.json`; None if it is gone or damaged.
    console: prints what is made again.
  """
  notes = job_start.read_model_notes(root / 'model')
  if notes is None and results is not None:
    job_start.report_missing(console, [str(root / 'model')])
  if notes is None:
    return None
  if results is not None:
    return results
  # Models of earlier releases lack some values.
  if not {'inputs', 'steps'} <= notes.keys():
    return None
  results = {name: notes[name] for name in ('inputs', 'steps')} | {
    'seconds': notes.get('seconds', math.nan)
  }
  job_results.write_json(root / 'results.json', results)
  return results


def trainable_records(
  source: Sequence[dict], image_tokens: int, both: bool
) -> Sequence[dict]:
  """Returns the records that have pairs to train on, sorted by id.

  Args:
    source: records from `pair_source.read_pairs`.
    image_tokens: I, codes per image.
    both: whether an input needs both pairs; otherwise either pair suffices.

  Raises:
    ValueError: no record has pairs, or images have another code count.
  """
  names, places = disk_objects.Store(), disk_arrays.Integers()
  for place, record in enumerate(source):
    row = pair_source.checked_record(record, image_tokens)
    if pair_selection.is_trainable(
      row['caption_dropped'], row['image_dropped'], both
    ):
      names.add(row['id'])
      places.append(place)
  if not len(places):
    raise ValueError('no input has a pair to learn from; curate more inputs')
  order = disk_names.order(names.values())
  chosen = disk_objects.Computed(len(order), lambda n: source[places[order[n]]])
  return pair_source.checked_records(chosen, image_tokens)
