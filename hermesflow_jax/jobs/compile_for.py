"""Compiles a run's programs for a TPU slice, without a TPU.

  python main.py --config=configs/pair_dpo.py:show_o_512 --compile_for=v5e:16x16

needs a CPU and `pip install -e '.[tpu]'`. `performance.pods.verdicts` explains
the numbers.
"""

import dataclasses
import hashlib
import json

import jax

from hermesflow_jax.jobs import fine_tune
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import job_results
from hermesflow_jax.jobs.setup import mesh_config
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.models import attention
from hermesflow_jax.performance.pods import fine_tuning_programs
from hermesflow_jax.performance.pods import programs
from hermesflow_jax.performance.pods import scoring_programs
from hermesflow_jax.performance.pods import verdict_report
from hermesflow_jax.performance.pods import verdicts
from hermesflow_jax.runtime import accelerators
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal


def run(
  config: pair_dpo.Settings | fine_tune.Settings,
  workdir: str,
  topology: str,
  console: terminal.Console,
) -> list[verdicts.Verdict]:
  """Compiles the programs of a job; prints the verdicts.

  Of pair_dpo these are the training step, both samplers and two scorers of
  images, by answers and by the likelihood of a caption; of fine_tune the
  training step and the encoder of images.

  Writes a JSON file for the slice and its mesh, and `table.md`, which compares
  all slices that were compiled with the same settings.

  Args:
    config: job settings.
    workdir: output folder.
    topology: slice, e.g. 'v5e:16x16'.
    console: prints the verdicts.

  Raises:
    ValueError: the slice is unknown, no mesh fits, or `config.sizes` is None.
  """
  pod = accelerators.parse_slice(topology)
  if config.sizes is None:
    raise ValueError(
      '--compile_for needs config.sizes, got None; give a config with sizes, '
      'e.g. configs/pair_dpo.py:show_o_512'
    )
  if isinstance(config, fine_tune.Settings):
    batch, parts = config.batches.divisor, config.optim.accumulate
    makers = fine_tuning_program, encoder_program
  else:
    batch, parts = config.play.batch, config.play.optim.accumulate
    makers = (
      step_program,
      image_program,
      caption_program,
      answer_program,
      likelihood_program,
    )
  # A run on the slice has processes on all hosts, so it uses all chips.
  data, model = config.mesh.sizes(
    pod.count,
    batch,
    parts,
    mesh_config.model_divisor(config.sizes.decoder),
    idle=False,
  )
  mesh = verdicts.slice_mesh(pod, data, model)
  workdir_claim.check_no_run(workdir)
  config = for_tpu(config)
  line = mesh_config.mesh_line(pod.count, data, model, batch, parts)
  console.say(f'{pod.name}, {line}')
  results = []
  for make_program in makers:
    program = make_program(config, mesh)
    results.append(verdicts.compile_program(program, pod, mesh))
    console.say(verdict_report.verdict_line(results[-1], pod))
  table = write_verdicts(config, results, pod, mesh, workdir)
  console.say(f'table: {table}')
  return results


def write_verdicts(
  config: pair_dpo.Settings | fine_tune.Settings,
  results: list[verdicts.Verdict],
  pod: accelerators.Slice,
  mesh: jax.sharding.Mesh,
  workdir: str,
):
  """Writes a slice's verdicts, and the table with all slices.

  Args:
    config: settings that were compiled.
    results: a verdict per program.
    pod: the slice.
    mesh: slice device mesh.
    workdir: output folder.

  Returns:
    Path to the table.
  """
  # Rows of a table differ in slice and mesh only, so settings have a folder.
  folder = storage.path(workdir) / _digest(config)
  shape = dict(mesh.shape)
  name = f'{pod.name.replace(":", "_")}_{shape["data"]}x{shape["model"]}.json'
  job_results.write_json(
    folder / name,
    {
      'topology': pod.name,
      'mesh': shape,
      'jax': jax.__version__,
      'attention': config.sizes.decoder.attention,
      'wanted': expected_programs(config),
      'programs': [dataclasses.asdict(v) | {'bound': v.bound} for v in results],
      'config': settings.to_json_types(config),
    },
  )
  rows = [
    json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))
  ]
  output_files.write_atomically(
    folder / 'table.md', verdict_report.verdict_table(rows) + '\n'
  )
  return folder / 'table.md'


def expected_programs(
  config: pair_dpo.Settings | fine_tune.Settings,
) -> dict[str, int]:
  """Returns the most pairs or groups, images, captions and scores of a run.

  Images are scored by answers or likelihoods. Of fine_tune the programs make
  rows and images.

  Args:
    config: job settings.
  """
  if isinstance(config, fine_tune.Settings):
    sizes = dataclasses.asdict(config.batches)
    return {
      'rows': config.optim.steps * sum(sizes.values()),
      'images': config.optim.steps * (sizes['t2i'] + sizes['mmu']),
    }
  play = config.play
  images = play.rounds * config.inputs * play.images
  return {
    'groups' if play.objective.uses_groups else 'pairs': play.rounds
    * play.optim.steps
    * play.batch,
    'images': images,
    'captions': play.rounds * config.inputs * len(play.captions),
    'answers': images * scoring_programs.QUESTIONS,
    'likelihoods': images,
  }


def _digest(config):
  """Returns eight hex digits that identify the settings without the mesh."""
  values = dataclasses.asdict(config) | {'mesh': None}
  text = json.dumps(values, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def for_tpu(
  config: pair_dpo.Settings | fine_tune.Settings,
) -> pair_dpo.Settings | fine_tune.Settings:
  """Returns settings whose attention 'auto' is resolved for a TPU."""
  decoder = config.sizes.decoder
  name = attention.choose_backend(decoder.attention, 'tpu')
  decoder = dataclasses.replace(decoder, attention=name)
  sizes = dataclasses.replace(config.sizes, decoder=decoder)
  return dataclasses.replace(config, sizes=sizes)


def step_program(
  config: pair_dpo.Settings, mesh: jax.sharding.Mesh
) -> verdicts.Program:
  """Returns the training step; see `programs.pair_dpo_step`."""
  return programs.pair_dpo_step(
    job_model.abstract_model(config.sizes)[0],
    config.sizes,
    config.play,
    config.play.reference,
    mesh,
    (config.play.images, len(config.play.captions)),
  )


def image_program(
  config: pair_dpo.Settings, mesh: jax.sharding.Mesh
) -> verdicts.Program:
  """Returns the image sampler; see `programs.image_sampler`."""
  return programs.image_sampler(
    job_model.abstract_model(config.sizes)[0],
    config.sizes,
    config.play.curation_sampler,
    config.play.images,
    config.chunk,
    mesh,
  )


def caption_program(
  config: pair_dpo.Settings, mesh: jax.sharding.Mesh
) -> verdicts.Program:
  """Returns the caption sampler; see `programs.caption_sampler`."""
  return programs.caption_sampler(
    job_model.abstract_model(config.sizes)[0],
    config.sizes,
    config.play.captions,
    config.chunk,
    mesh,
  )


def answer_program(
  config: pair_dpo.Settings, mesh: jax.sharding.Mesh
) -> verdicts.Program:
  """Returns the program of answers; see `scoring_programs.answers`."""
  return scoring_programs.answers(
    job_model.abstract_model(config.sizes)[0],
    config.sizes,
    config.play.choice_rule,
    config.chunk,
    mesh,
  )


def likelihood_program(
  config: pair_dpo.Settings, mesh: jax.sharding.Mesh
) -> verdicts.Program:
  """Returns the program of `scoring_programs.caption_likelihood`."""
  return scoring_programs.caption_likelihood(
    job_model.abstract_model(config.sizes)[0], config.sizes, config.chunk, mesh
  )


def fine_tuning_program(
  config: fine_tune.Settings, mesh: jax.sharding.Mesh
) -> verdicts.Program:
  """Returns the training step; see `fine_tuning_programs.training_step`."""
  return fine_tuning_programs.training_step(
    job_model.abstract_model(config.sizes)[0], config.sizes, config, mesh
  )


def encoder_program(
  config: fine_tune.Settings, mesh: jax.sharding.Mesh
) -> verdicts.Program:
  """Returns the encoder of images; see `fine_tuning_programs.encoder`."""
  return fine_tuning_programs.encoder(
    job_model.abstract_model(config.sizes)[1],
    config.sizes,
    config,
    config.chunk,
    mesh,
  )
