"""Trains a model on data sets of images, captions, conversations and texts.

`configs/pretrain.py:show_o_256` and its other variants start it.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import functools
import time

from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.jobs.setup import new_model
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import fine_tuning

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import checkpoint
  from hermesflow_jax.checkpoints import initial_model
  from hermesflow_jax.checkpoints import model_folder
  from hermesflow_jax.checkpoints import trained_model
  from hermesflow_jax.data import input_faults
  from hermesflow_jax.data import pipeline
  from hermesflow_jax.data import task_sources
  from hermesflow_jax.jobs import learn
  from hermesflow_jax.jobs.setup import fine_tuning_results
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import mesh_config
  from hermesflow_jax.jobs.setup import model_hashes
  from hermesflow_jax.jobs.setup import prompt_list
  from hermesflow_jax.jobs.setup import tokenizer_hashes
  from hermesflow_jax.sequences import text_tokenizer

# The setting `new_model` hides the module.
_NewModel = new_model.NewModel
_TASKS = ('t2i', 'mmu', 'lm')


@dataclasses.dataclass(frozen=True)
class Settings(job_model.ModelSettings, fine_tuning.FineTuningConfig):
  """Job settings.

  Attributes:
    t2i: image sets whose images are drawn from their captions.
    mmu: image sets whose captions or conversations are learned; () for `t2i`.
    lm: text sets; () for the captions of `t2i`.
    new_model: sizes of a new model, if `init_from` is ''.
  """

  t2i: tuple[task_sources.ImageSet, ...]
  mmu: tuple[task_sources.ImageSet, ...]
  lm: tuple[task_sources.TextSet, ...]
  new_model: _NewModel | None = dataclasses.field(default=None, kw_only=True)

  def __post_init__(self):
    job_model.ModelSettings.__post_init__(self)
    fine_tuning.FineTuningConfig.__post_init__(self)
    if bool(self.init_from) == bool(self.new_model):
      raise ValueError(
        'init_from must be the folder of a model, or new_model its sizes, got '
        f'init_from {self.init_from!r} and new_model {self.new_model}'
      )

  @property
  def data_sets(self) -> dict[str, tuple]:
    """Data sets by setting."""
    return {task: getattr(self, task) for task in _TASKS} | {
      f'held_out.{task}': getattr(self.held_out, task) for task in _TASKS
    }


@job_start.releases_workdir
def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Trains on data sets.

  Writes the trained model `model/`, `report.html`, then `results.json`.

  Returns:
    Content written to `results.json`: examples, steps, seconds, and held-out
    losses if any are measured.

  Raises:
    ValueError: unusable setting, data set or workdir.
  """
  began = time.perf_counter()
  path = None
  if config.init_from:
    sets = {
      f'{task}[{number}]': item
      for task, items in config.data_sets.items()
      for number, item in enumerate(items)
      if isinstance(item, task_sources.ImageSet)
    }
    path = job_start.locate_model(config, console, sets)
  sources, held_out = open_sources(config, console)
  counts = {task: len(mixture) for task, mixture in sources.items()}
  console.say(
    'examples: '
    + ', '.join(f'{task} {count:,}' for task, count in counts.items())
  )
  if held_out:
    console.say(
      'held out: '
      + ', '.join(f'{task} {len(part):,}' for task, part in held_out.items())
    )
  mesh = _make_mesh(config, path, console)
  if path is None:
    folder = _tokenizer_folder(config)
    images = folder.load_tokenizer(mesh)
    new_model.check_pixels(config.new_model, images)
    weights = dict(folder.tokenizer_hashes())
    mixtures = [*sources.values(), *(held_out or {}).values()]
    text = new_model.make_text(_texts(config, mixtures))
    text_hash = tokenizer_hashes.text_hash(text)
  else:
    text_hash = model_hashes.text_identity(config, path).sha256
    weights = model_hashes.weight_hashes(config, path)
  data = task_sources.content_hashes(config.data_sets)
  results = job_start.claim_and_read_results(
    workdir,
    config,
    console,
    'results.json',
    contents=job_start.input_hashes(text_hash),
    base=weights,
    data=data,
  )
  root = storage.path(workdir)
  results = learn.finished_results(root, results, console)
  if results is not None:
    job_start.report_finished(console, workdir, root / 'model')
    return results
  if path is None:
    parts = new_model.make_bundle(config.new_model, images, text, config.seed)
    console.say(f'a new model with {text.size} words')
  else:
    parts = job_model.load_parts(config, path, mesh)
  unified = job_model.place_on_mesh(config, parts, mesh, console)
  del parts
  prompt_list.report_misread(unified, config.previews.prompts, console)
  identity = functools.partial(identities.identity_of, Settings, of='content')
  model = fine_tuning.train(
    unified,
    sources,
    config,
    identity(settings.to_json_types(config)) | {'data': data},
    root / 'training',
    console,
    held_out,
    identity,
  )
  results = {
    'inputs': sum(counts.values()),
    'examples': counts,
    'steps': config.optim.steps,
    'seconds': time.perf_counter() - began,
  }
  if held_out:
    results['held_out'] = fine_tuning_results.held_out_results(
      root / 'training', held_out, console
    )
  # A model at this path is damaged.
  processes.on_first_process(lambda: checkpoint.remove(root / 'model'))
  trained_model.save_model(
    str(root / 'model'),
    dataclasses.replace(unified, model=model),
    str(path or ''),
    results,
  )
  processes.on_first_process(
    lambda: fine_tuning_results.write_report(root, config, results, console)
  )
  job_results.write_json(root / 'results.json', results)
  processes.on_first_process(
    lambda: storage.remove(root / 'training' / 'steps')
  )
  console.say(
    f'{config.optim.steps} steps; --config.init_from={root / "model"} reads it'
  )
  return results


def open_sources(
  config: Settings, console: terminal.Console
) -> tuple[dict[str, pipeline.Mixture], dict[str, pipeline.Mixture] | None]:
  """Returns the checked examples of each task, and those that are held out.

  Raises:
    ValueError: see `task_sources.open_images` and `task_sources.split`; names
      the faults of all tasks.
  """
  sources = _open_tasks(config, '', console)
  if config.held_out.t2i:
    return sources, _open_tasks(config.held_out, 'held_out.', console)
  if not config.held_out.share:
    return sources, None
  # Tasks with the same examples hold out the same ones.
  parts = {
    id(mixture): task_sources.split(task, mixture, config.held_out.share)
    for task, mixture in reversed(sources.items())
  }
  learned, held_out = (
    {task: parts[id(mixture)][number] for task, mixture in sources.items()}
    for number in (0, 1)
  )
  return learned, held_out


def _open_tasks(sets, prefix, console):
  """Returns the checked examples of each task, of settings under `prefix`."""
  faults, say = [], console.say
  opened = {
    task: input_faults.attempt(faults, open_task, *arguments)
    for task, open_task, *arguments in (
      ('t2i', task_sources.open_images, f'{prefix}t2i', sets.t2i, say),
      ('mmu', task_sources.open_images, f'{prefix}mmu', sets.mmu, say),
      ('lm', task_sources.open_texts, sets.lm, say, f'{prefix}lm'),
    )
    if task == 't2i' or getattr(sets, task)
  }
  if faults:
    raise ValueError('; '.join(faults))
  return {task: opened.get(task, opened['t2i']) for task in _TASKS}


def _make_mesh(config, path, console):
  """Returns the mesh; `data` divides the batch of every task."""
  divisor, accumulate = config.batches.divisor, config.optim.accumulate
  if path is not None:
    return job_model.make_mesh(config, path, console, divisor, accumulate)
  return config.mesh.make(
    divisor,
    accumulate,
    mesh_config.model_divisor(config.new_model.decoder),
    console.say,
  )


def _tokenizer_folder(config) -> model_folder.ModelFolder:
  """Returns the folder of a new model's image tokenizer."""
  if not config.tokenizer:
    raise ValueError(
      'tokenizer must be the folder of an image tokenizer for a new model, '
      "got ''; give e.g. assets:shapes, or what configs/tokenizer.py exported"
    )
  name = config.tokenizer
  if name.startswith('assets:'):
    name = str(initial_model.ASSETS / name.removeprefix('assets:'))
  initial_model.check_exists([name], config.missing)
  return initial_model.open(name)


def _texts(config, mixtures) -> Iterator[str]:
  """Yields all texts of the data, and the prompts."""
  yield text_tokenizer.user_turn(config.rows.caption_prompt)
  for mixture in mixtures:
    for examples in mixture.sources:
      for example in examples:
        yield example.get('text', example.get('caption', ''))
        for turn in example.get('turns') or ():
          yield ' '.join(turn)
