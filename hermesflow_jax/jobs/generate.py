"""Draws images of prompts: new ones, parts of one, or beyond its borders."""

import collections
from collections.abc import Sequence
import dataclasses
import functools
import io
import json
import pathlib
import re
import typing

import numpy as np
from PIL import Image

from hermesflow_jax.data import image_reader
from hermesflow_jax.data import image_writer
from hermesflow_jax.data import input_faults
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import inpainting
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import unified_model

# Prompts that a contact sheet shows.
_SHEET = 64


@dataclasses.dataclass(frozen=True)
class Settings(job_model.ModelSettings):
  """Settings of the job.

  Attributes:
    prompts: texts to draw.
    file: a file with more of them, one a line; '' for none.
    each: images a prompt.
    seed: of all randomness; an image depends on it, on its prompt and number.
    sampler: how.
    image: an image to start from; '' for none.
    mask: an image of the same size, white where `image` is drawn anew.
    extend: sides to which `image` grows by half its size, in this order, any
      of left, right, up, down, as often as wanted.
    on_error: 'raise', or 'skip' to leave out prompts that cannot be drawn.
  """

  prompts: tuple[str, ...]
  file: str
  each: settings.PositiveInt
  seed: settings.NonNegativeInt
  sampler: maskgit.MaskGITSampler
  image: str
  mask: str
  extend: tuple[
    typing.Annotated[str, settings.one_of(*inpainting.DIRECTIONS)], ...
  ]
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)]

  def __post_init__(self):
    super().__post_init__()
    if not self.prompts and not self.file:
      raise ValueError('there is nothing to draw: give prompts or a file')
    if bool(self.image) != (bool(self.mask) or bool(self.extend)):
      raise ValueError(
        'an image wants a mask, or sides to extend it to, and these an image'
      )
    if self.mask and self.extend:
      raise ValueError('mask and extend do not go together')


def run(
  config: Settings, workdir: str, console: terminal.Console
) -> list[dict]:
  """Draws; returns the lines of `images.jsonl`, one an image."""
  path = job_model.locate(config, console)
  prompts = input_faults.valid_only(
    read_prompts(config), config.on_error, 'prompt', console
  )
  mesh = config.mesh.make()
  parts = job_model.load_parts(config, path, mesh)
  sums = job_model.weight_hashes(config, path)
  inputs = {
    name: output_files.sha256(file)
    for name, file in (
      ('image', config.image),
      ('mask', config.mask),
      ('file', config.file),
    )
    if file
  }
  if config.image:
    inputs['pixels'] = image_reader.VERSION
  unified = job_model.place_on_mesh(config, parts, mesh, console)
  first = starting_codes(config, unified)
  workdir_claim.claim_workdir(
    workdir, config, console, base=sums, inputs=inputs
  )
  root = storage.path(workdir)
  done = root / 'images.jsonl'
  if done.exists():
    console.say(
      f'these images are there: see {root}; for others, give another --workdir'
    )
    with storage.open_text(done) as file:
      return [json.loads(line) for line in file.read().splitlines()]
  cut = {p: c for p in prompts if (c := unified.read_to(p)) is not None}
  for prompt, rest in cut.items():
    console.say(f'warning: {prompt!r} is too long: what is read ends {rest!r}')
  rows = draw_images(config, unified, prompts, first, cut, root, console)
  shown = prompts[:_SHEET]
  image_writer.contact_sheet(
    root / 'contact_sheet.png',
    [
      [_image(root / r['file']) for r in rows if r['prompt'] == prompt]
      for prompt in shown
    ],
    shown,
  )
  lines = ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
  output_files.write_atomically(done, lines)
  console.say(f'{len(rows)} images in {root}; see {root / "contact_sheet.png"}')
  return rows


def _image(path: pathlib.PurePath) -> np.ndarray:
  return np.asarray(Image.open(io.BytesIO(path.read_bytes())))


def read_prompts(config: Settings) -> list[tuple[str, str]]:
  """Returns (prompt, what is wrong with it or '') of settings and file.

  Raises:
    ValueError: the file cannot be read.
  """
  prompts = list(config.prompts)
  if config.file:
    try:
      with storage.open_text(storage.path(config.file)) as file:
        text = file.read()
    except (OSError, UnicodeDecodeError) as error:
      raise ValueError(f'{config.file} cannot be read: {error}') from error
    prompts += text.splitlines()
  prompts = [' '.join(prompt.split()) for prompt in prompts]
  seen, out = collections.Counter(), []
  for prompt in prompts:
    seen[prompt] += 1
    fault = ''
    if not prompt:
      fault = 'it is empty'
    elif seen[prompt] == 2:
      fault = 'it comes twice; `each` says how often a prompt is drawn'
    elif seen[prompt] > 2:
      continue
    out.append((prompt, fault))
  return out


def starting_codes(
  config: Settings, unified: unified_model.UnifiedModel
) -> tuple[np.ndarray, np.ndarray]:
  """Returns (codes int32[h, w], known bool[h, w]) of the image to start from.

  Raises:
    ValueError: the image or the mask cannot be read, or do not fit together.
  """
  grid = unified.grid
  if not config.image:
    return np.zeros(grid, np.int32), np.zeros(grid, bool)
  size = grid[0] * unified.tokenizer.reduction
  pixels = image_reader.load_image(storage.path(config.image), size)
  codes = unified.encode(pixels[None])[0].reshape(grid)
  known = np.ones(grid, bool)
  if config.mask:
    mask = image_reader.load_mask(
      storage.path(config.mask), storage.path(config.image), size
    )
    known = ~inpainting.masked_codes(mask, grid)
    if known.all():
      raise ValueError(f'mask {config.mask} hides nothing')
  return codes, known


def draw_images(
  config: Settings,
  unified: unified_model.UnifiedModel,
  prompts: Sequence[str],
  first: tuple[np.ndarray, np.ndarray],
  cut: dict[str, str],
  root: pathlib.PurePath,
  console: terminal.Console,
) -> list[dict]:
  """Draws and writes what is not there; returns a line an image."""
  rows, size = [], max(1, unified.chunk // config.each)
  groups = [prompts[i : i + size] for i in range(0, len(prompts), size)]
  number = {prompt: n for n, prompt in enumerate(prompts)}
  sizes = [len(group) * config.each for group in groups]
  drawing = terminal.weighted_progress(
    console.progress('drawing'), groups, sizes
  )
  for group in drawing:
    lines = [
      {
        'file': f'images/{number[prompt]:04d}-{_slug(prompt)}-{m}.png',
        'prompt': prompt,
        'number': m,
        'seed': config.seed,
      }
      | ({'read_to': cut[prompt]} if prompt in cut else {})
      for prompt in group
      for m in range(config.each)
    ]
    rows += lines
    if all((root / line['file']).exists() for line in lines):
      continue
    for line, image in zip(lines, to_pixels(config, unified, group, first)):
      facts = line | {'sampler': dataclasses.asdict(config.sampler)}
      facts |= {
        name: value
        for name in ('image', 'mask', 'extend')
        if (value := getattr(config, name))
      }
      image_writer.save_png(root / line['file'], image, facts)
  return rows


def to_pixels(
  config: Settings,
  unified: unified_model.UnifiedModel,
  prompts: Sequence[str],
  first: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
  """Returns uint8[N * M, H, W, 3], the images of some prompts."""
  grid, each = unified.grid, config.each
  codes, known = first
  start_from = np.where(known, codes, inpainting.UNKNOWN)
  canvas = np.repeat(start_from[None], len(prompts) * each, axis=0)

  def draw(window, codes, known, stage):
    names = prompts
    if stage or window:
      names = [f'{prompt}/{stage}.{window}' for prompt in prompts]
    shape = len(prompts), each, -1
    found = unified.draw(
      names,
      prompts,
      each,
      config.sampler,
      config.seed,
      codes=codes.reshape(shape),
      known=known.reshape(shape),
    )
    return found.reshape(codes.shape)

  for stage, side in enumerate(config.extend or (None,)):
    if side:
      canvas = inpainting.extend_canvas(canvas, side, grid)
    canvas = inpainting.fill_canvas(
      canvas, grid, functools.partial(draw, stage=stage)
    )
  return unified.decode(canvas)


def _slug(prompt):
  """A prompt as a part of a file's name."""
  return re.sub(r'[^a-z0-9]+', '-', prompt.lower()).strip('-')[:40] or 'image'
