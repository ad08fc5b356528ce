"""Draws images for prompts, fills in masked images, or extends images."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import pathlib
import typing

import numpy as np

from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.jobs.setup import model_hashes
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import renamed_settings
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text
from hermesflow_jax.sampling import search_settings

with lazy_modules.on_first_use():
  from hermesflow_jax.data import image_writer
  from hermesflow_jax.data import input_faults
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import prompt_drawing
  from hermesflow_jax.jobs.setup import prompt_list
  from hermesflow_jax.jobs.setup import starting_image
  from hermesflow_jax.sampling import inpainting
  from hermesflow_jax.sampling import maskgit
  from hermesflow_jax.sampling import unified_model

# Number of prompts on the contact sheet.
_SHEET = 64


@dataclasses.dataclass(frozen=True)
class Settings(job_model.ModelSettings):
  """Job settings.

  Attributes:
    prompts: texts to draw.
    file: file or folder with more prompts, see `prompt_list.read_prompts`; ''
      for none.
    examples: `prompts` that are not drawn beside a file: the defaults of a
      config.
    images_per_prompt: images of each text that is drawn.
    seed: random seed; an image depends on seed, prompt and image number.
    sampler: image sampler.
    image: image file to start from; '' for none.
    mask: mask file as large as `image`; white pixels are drawn anew.
      '' for none.
    extend: sides to which `image` grows by half its size, in this order: left,
      right, up or down, repeated as needed.
    on_error: 'raise' stops at a faulty prompt, 'skip' leaves it out.
    search: search for each image; prompts have no questions, so that its score
      is `likelihood`.
  """

  reads_images: typing.ClassVar[bool] = False
  prompts: tuple[str, ...]
  file: str = settings.path_of_content('inputs')
  images_per_prompt: typing.Annotated[
    settings.PositiveInt, settings.below(1_000_001)
  ] = renamed_settings.earlier('each')
  seed: settings.NonNegativeInt
  sampler: maskgit.MaskGITSampler
  image: str = settings.path_of_content('inputs')
  mask: str = settings.path_of_content('inputs')
  extend: tuple[
    typing.Annotated[str, settings.one_of(*inpainting.DIRECTIONS)], ...
  ]
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)]
  examples: tuple[str, ...] = settings.may_change_on_resume(
    default=(), kw_only=True
  )
  search: search_settings.Search = dataclasses.field(
    default=search_settings.Search(), kw_only=True
  )

  def __post_init__(self):
    super().__post_init__()
    self.search.check_sampler(self.sampler)
    self.search.check_questions([[]], 'generate')
    if not self.prompts and not self.file:
      raise ValueError(
        'prompts must not be empty, got (); give prompts or file'
      )
    if bool(self.image) != (bool(self.mask) or bool(self.extend)):
      raise ValueError(
        'image must be given together with mask or extend, got '
        f'image={self.image!r}, mask={self.mask!r}, extend={self.extend}'
      )
    if self.mask and self.extend:
      raise ValueError(
        'mask and extend must not be given together, got '
        f'mask={self.mask!r}, extend={self.extend}; run the job twice'
      )


@job_start.releases_workdir
def run(
  config: Settings, workdir: str, console: terminal.Console
) -> list[dict]:
  """Draws the images, and a contact sheet for the first prompts.

  Writes PNG files, `contact_sheet.png`, then `images.jsonl`.

  Returns:
    Records written to `images.jsonl`, one per image.

  Raises:
    ValueError: unusable setting, file or workdir.
  """
  path = job_model.locate(config, console)
  prompts = _read_prompts(config, console)
  rows = job_start.claim_and_read_results(
    workdir,
    config,
    console,
    'images.jsonl',
    lambda rows: all(isinstance(row.get('file'), str) for row in rows),
    contents=job_start.input_hashes(
      model_hashes.text_identity(config, path).sha256
    ),
    base=model_hashes.weight_hashes(config, path),
    inputs=starting_image.file_hashes(config),
  )
  root = storage.path(workdir)
  sheet = root / 'contact_sheet.png'
  if rows is not None and job_start.all_exist(
    console,
    lambda: _missing_images(root, [*(r['file'] for r in rows), sheet.name]),
  ):
    job_start.report_finished(console, workdir, sheet)
    return rows
  mesh = config.mesh.make()
  parts = job_model.load_parts(config, path, mesh)
  unified = job_model.place_on_mesh(config, parts, mesh, console)
  start = starting_image.starting_codes(config, unified)
  if config.search.is_on:
    most = search_settings.most_decoder_passes(
      config.search, config.sampler, not start[1].any()
    )
    # An extended image is drawn window by window.
    unit = 'window' if config.extend else 'image'
    console.say(f'search: at most {most:g} decoder passes per {unit}')
  truncated = prompt_list.report_misread(unified, prompts, console)
  rows = draw_images(config, unified, prompts, start, truncated, root, console)
  sheet_prompts = prompts[:_SHEET]
  image_writer.contact_sheet(
    sheet,
    [
      [
        image_writer.read_pixels(root / r['file'])
        for r in rows
        if r['prompt'] == prompt
      ]
      for prompt in sheet_prompts
    ],
    sheet_prompts,
  )
  output_files.write_atomically(
    root / 'images.jsonl', job_results.unicode_json_lines(rows)
  )
  console.say(f'{user_text.counted(len(rows), "image")} in {root}; see {sheet}')
  return rows


def _read_prompts(config, console) -> list[str]:
  """Returns the prompts without a fault, before weights are read.

  Raises:
    ValueError: names the faults of prompts, image and mask.
  """
  faults = []
  prompts = input_faults.attempt(
    faults,
    lambda: input_faults.valid_only(
      prompt_list.read_prompts(
        config.prompts, config.file, config.examples, console.say
      ),
      config.on_error,
      'prompt',
      console,
    ),
  )
  input_faults.raise_if_any(faults + starting_image.list_faults(config))
  return prompts


def _missing_images(root, names) -> list[pathlib.PurePath]:
  """Returns the images that are gone or damaged."""
  return [
    root / name for name in names if not image_writer.is_complete(root / name)
  ]


def draw_images(
  config: Settings,
  unified: unified_model.UnifiedModel,
  prompts: Sequence[str],
  start: tuple[np.ndarray, np.ndarray],
  truncated: dict[str, str],
  root: pathlib.PurePath,
  console: terminal.Console,
) -> list[dict]:
  """Draws and writes the missing images.

  Args:
    config: job settings.
    unified: model that draws.
    prompts: N texts.
    start: codes and mask from `starting_image.starting_codes`.
    truncated: by prompt that is too long, the last words that are read.
    root: run folder.
    console: prints progress.

  Returns:
    A record per image.
  """
  rows, size = [], max(1, unified.chunk // config.images_per_prompt)
  groups = [prompts[i : i + size] for i in range(0, len(prompts), size)]
  names = {
    prompt: f'images/{number:04d}-{prompt_list.file_slug(prompt)}'
    for number, prompt in enumerate(prompts)
  }
  sizes = [len(group) * config.images_per_prompt for group in groups]
  drawing = terminal.weighted_progress(
    console.progress('drawing'), groups, sizes
  )
  for group in drawing:
    lines = [
      {
        'file': f'{names[prompt]}-{m}.png',
        'prompt': prompt,
        'number': m,
        'seed': config.seed,
      }
      | ({'read_to': truncated[prompt]} if prompt in truncated else {})
      for prompt in group
      for m in range(config.images_per_prompt)
    ]
    rows += lines
    if not _missing_images(root, [line['file'] for line in lines]):
      continue
    for line, image in zip(
      lines, prompt_drawing.to_pixels(config, unified, group, start)
    ):
      metadata = line | {'sampler': dataclasses.asdict(config.sampler)}
      if config.search.is_on:
        metadata |= {'search': dataclasses.asdict(config.search)}
      metadata |= {
        name: value
        for name in ('image', 'mask', 'extend')
        if (value := getattr(config, name))
      }
      image_writer.save_png(root / line['file'], image, metadata)
  return rows
