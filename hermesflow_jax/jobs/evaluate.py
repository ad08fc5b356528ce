"""Measures models on public benchmarks, and keeps every prediction."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import pathlib

from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.jobs.setup import measure_settings
from hermesflow_jax.jobs.setup import model_hashes
from hermesflow_jax.jobs.setup import reading_model
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.scoring import encoder_settings

with lazy_modules.on_first_use():
  from hermesflow_jax.benchmarks import registry
  from hermesflow_jax.data import image_reader
  from hermesflow_jax.data import input_faults
  from hermesflow_jax.jobs.setup import benchmark_checks
  from hermesflow_jax.jobs.setup import benchmark_judges
  from hermesflow_jax.jobs.setup import benchmark_predictions
  from hermesflow_jax.jobs.setup import benchmark_results
  from hermesflow_jax.jobs.setup import drawing_answers
  from hermesflow_jax.jobs.setup import drawing_measures
  from hermesflow_jax.jobs.setup import evaluated_models
  from hermesflow_jax.jobs.setup import evaluation_report
  from hermesflow_jax.jobs.setup import job_judging
  from hermesflow_jax.jobs.setup import job_model
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import job_scoring
  from hermesflow_jax.jobs.setup import judged_job
  from hermesflow_jax.jobs.setup import sampler_variants
  from hermesflow_jax.judging import judge_settings
  from hermesflow_jax.sampling import maskgit


@dataclasses.dataclass(frozen=True)
class Settings(reading_model.ReadingSettings):
  """Job settings.

  Attributes:
    models: folders of models or runs; the others are compared with the first.
      () for `init_from` alone.
    benchmarks: names of benchmarks, see `benchmarks.registry`.
    sources: where the files of each benchmark are.
    rows: rows of a benchmark at most, evenly from its file; 0 for all.
    sampler: image sampler.
    samplers: changes to the image sampler. Each model also draws with each of
      them; its drawings are compared like those of a further model.
    seed: random seed of drawings.
    judge: answers questions about drawings.
    answer_matcher: maps free answers of judges to choices.
    encoders: encoders of the matcher and of measures.
    search: search for each drawing.
    measures: what is measured about drawings without questions, as of COCO.
  """

  models: tuple[str, ...] = settings.path_of_content('base')
  benchmarks: tuple[str, ...]
  sources: registry.Sources
  rows: settings.NonNegativeInt
  sampler: maskgit.MaskGITSampler
  seed: settings.NonNegativeInt
  judge: judge_settings.JudgeSettings
  answer_matcher: str = 'ngram'
  encoders: encoder_settings.EncoderSettings = (
    encoder_settings.EncoderSettings()
  )
  measures: measure_settings.MeasureSettings = (
    measure_settings.MeasureSettings()
  )
  search: search_settings.Search = search_settings.Search()
  samplers: tuple[sampler_variants.SamplerVariant, ...] = ()

  def __post_init__(self):
    super().__post_init__()
    sampler_variants.check_search(self.search, self.all_samplers)
    if not self.benchmarks:
      raise ValueError(
        f'benchmarks must be among {", ".join(registry.BENCHMARKS)}, got ()'
      )
    for field in ('models', 'benchmarks'):
      values = getattr(self, field)
      if len(set(values)) < len(values):
        raise ValueError(f'{field} must differ, got {values}')
    faults = []
    benchmarks = [
      input_faults.attempt(faults, registry.make, name)
      for name in self.benchmarks
    ]
    input_faults.raise_if_any(faults)
    sampler_variants.check_benchmarks(self.samplers, benchmarks)

  @property
  def all_samplers(self) -> dict[str, maskgit.MaskGITSampler]:
    """The samplers by name: `sampler` under '', then `samplers`."""
    return sampler_variants.by_name(self.sampler, self.samplers)

  @property
  def judged(self) -> judged_job.JudgedJob:
    """The settings that the judge of drawings reads."""
    return judged_job.JudgedJob(
      self,
      self.judge,
      judged_job.ChosenAnswers(self.answer_matcher, self.encoders),
      has_own_images=self.judge.kind != 'pixels',
    )


@job_start.releases_workdir
def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Predicts all benchmarks by all models, and scores the predictions.

  Writes `predictions/<model>/<benchmark>/`: `predictions.jsonl`, and below
  `official` and `images` the files of official scorers; then `results.json`.

  Returns:
    The results, see `benchmark_results.of_benchmark`.

  Raises:
    ValueError: unusable setting, file or workdir.
  """
  models, sets = benchmark_checks.read_all(config, workdir, console)
  sampler_variants.check_names(
    [model.name for model in models], list(config.all_samplers)
  )
  root = storage.path(workdir)
  hashes = {
    model.name: model_hashes.weight_hashes(model.config, model.path)
    for model in models
  }
  results = job_start.claim_and_read_results(
    workdir,
    config,
    console,
    'results.json',
    is_complete,
    contents={
      **evaluated_models.tokenizer_hashes_of(models),
      **job_judging.content_hashes(models[0].config.judged),
      **drawing_measures.content_hashes(config.measures, config.encoders),
    },
    base=hashes,
    benchmark_files={
      entry.benchmark.name: entry.content_hash() for entry in sets
    },
    pixels=image_reader.VERSION,
  )
  if results is not None:
    console.say(benchmark_results.summary_text(results['benchmarks']))
    job_start.report_finished(console, workdir, root / 'results.json')
    return results
  judges = {
    model.name: _predict(config, models, model, sets, root, console)
    for model in models
  }
  return _write_results(config, models, sets, judges, root, console)


def _folder(root, name, entry) -> pathlib.PurePath:
  return root / 'predictions' / name / entry.benchmark.name


def _predict(config, models, model, sets, root, console) -> Mapping | None:
  """Predicts all benchmarks by a model; returns the record of its judge."""
  mesh = model.config.mesh.make()
  parts = job_model.load_parts(model.config, model.path, mesh)
  unified = job_scoring.place_on_mesh(
    model.config, parts, mesh, console, config.judged.answers
  )
  judge = record = None
  if benchmark_checks.needs_judge(sets):
    judge, record = benchmark_judges.make(models, model, unified, root, console)
  predictor = benchmark_predictions.Predictor(
    unified,
    drawing_answers.DrawingAnswers(
      unified, judge, benchmark_judges.reads_rows(config)
    ),
    config.sampler,
    config.seed,
    console,
    config.search,
    counts_passes=bool(config.samplers),
  )
  for variant, sampler in config.all_samplers.items():
    predictor = dataclasses.replace(predictor, sampler=sampler)
    name = sampler_variants.name_of(model.name, variant)
    # Replies depend on no image sampler.
    own = [entry for entry in sets if not (variant and entry.asks)]
    _predict_all(config, predictor, own, name, root, mesh)
  return record


def _predict_all(config, predictor, sets, name, root, mesh) -> None:
  """Predicts benchmarks by a model with a sampler; measures its drawings."""
  for entry in sets:
    folder = _folder(root, name, entry)
    predictor.predict(entry, folder)
    if benchmark_checks.is_measured(entry):
      benchmark_results.write_measured(
        folder,
        drawing_measures.measure(
          config.measures,
          config.encoders,
          entry.rows,
          folder / 'images',
          mesh,
          predictor.unified.tokenizer,
        ),
      )


def _write_results(config, models, sets, judges, root, console) -> dict:
  variants = config.all_samplers
  results = {
    'models': [
      {
        'name': sampler_variants.name_of(model.name, variant),
        'path': str(model.path),
        'judge': judges[model.name],
      }
      | ({'sampler': settings.to_json_types(sampler)} if variant else {})
      for model in models
      for variant, sampler in variants.items()
    ],
    'benchmarks': {},
  }
  processes.barrier()  # The first process writes what all of them read.
  for entry in sets:
    names = [
      sampler_variants.name_of(model.name, variant)
      for model in models
      for variant in variants
      if not (variant and entry.asks)
    ]
    folders = {name: _folder(root, name, entry) for name in names}
    for folder in folders.values():
      benchmark_results.write_official_files(entry, folder)
    results['benchmarks'][entry.benchmark.name] = (
      benchmark_results.of_benchmark(entry, folders)
    )
  page = evaluation_report.write_page(results, sets, root, console.command)
  job_results.write_json(root / 'results.json', results)
  console.say(benchmark_results.summary_text(results['benchmarks']))
  console.say(f'see {page}')
  return results


def is_complete(results: dict) -> bool:
  """Returns whether results have the values that the summary shows.

  Args:
    results: content of `results.json`.
  """
  benchmarks = results.get('benchmarks')
  return isinstance(benchmarks, dict) and all(
    isinstance(entry, dict) and isinstance(entry.get('models'), dict)
    for entry in benchmarks.values()
  )
