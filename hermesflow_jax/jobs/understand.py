"""Captions images and answers questions about them."""

from collections.abc import Sequence
import dataclasses
import glob
import json
import os
import pathlib
import typing

import numpy as np

from hermesflow_jax.data import image_reader
from hermesflow_jax.data import input_faults
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import text_tokenizer

# Images that are read, answered about and written at once.
GROUP = 256
SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp')
# Images that the printed table shows.
_TABLE = 20


@dataclasses.dataclass(frozen=True)
class Settings(job_model.ModelSettings):
  """Settings of the job.

  Attributes:
    images: files, folders (with all images below them) and globs, also of
      buckets.
    caption: whether each image is captioned.
    questions: asked about each image.
    choices: possible answers, of which the likeliest is given; () for answers
      in the model's own words.
    choice_rule: how likely a choice is, a name of `choice_rules.RULES`.
    caption_prompt: what captions are asked with.
    decoding: how captions and free answers are written; `top_k` 1 is greedy.
    seed: of all randomness.
    on_error: 'raise', or 'skip' to leave out images that cannot be read.
  """

  images: tuple[str, ...]
  caption: bool
  questions: tuple[str, ...]
  choices: tuple[str, ...]
  choice_rule: str = dataclasses.field(default='constrained', kw_only=True)
  caption_prompt: str = dataclasses.field(
    default=text_tokenizer.CAPTION_PROMPT, kw_only=True
  )
  decoding: batched.Decoding
  seed: settings.NonNegativeInt
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)]

  def __post_init__(self):
    super().__post_init__()
    if not self.images:
      raise ValueError('there is nothing to look at: give images')
    if not self.caption and not self.questions:
      raise ValueError('there is nothing to say: give questions, or caption')
    if not all(question.strip() for question in self.questions):
      raise ValueError('a question is empty')
    if len(set(self.questions)) < len(self.questions):
      raise ValueError('a question comes twice')
    plain = [choice.strip() for choice in self.choices]
    if plain and (
      len(plain) < 2 or len(set(plain)) < len(plain) or not all(plain)
    ):
      raise ValueError(
        f'choices is {self.choices}, wanted different texts, at least two'
      )
    text_tokenizer.check_prompt('caption_prompt', self.caption_prompt)
    question_answering.AnswerConfig(rule=self.choice_rule)


def run(
  config: Settings, workdir: str, console: terminal.Console
) -> list[dict]:
  """Looks and says; returns the lines of `answers.jsonl`, one an image."""
  path = job_model.locate(config, console)
  names = list_images(config.images)
  mesh = config.mesh.make()
  parts = job_model.load_parts(config, path, mesh)
  sums = job_model.weight_hashes(config, path)
  unified = job_model.place_on_mesh(
    config,
    parts,
    mesh,
    console,
    question_answering.AnswerConfig(rule=config.choice_rule),
    config.caption_prompt,
  )
  for question in config.questions:
    unified.check_question({'question': question})
  size = unified.grid[0] * unified.tokenizer.reduction
  good = input_faults.valid_only(
    [
      (name, image_fault(name, size))
      for name in console.progress('reading')(names)
    ],
    config.on_error,
    'image',
    console,
  )
  workdir_claim.claim_workdir(
    workdir,
    config,
    console,
    base=sums,
    images={name: output_files.sha256(name) for name in good},
    pixels=image_reader.VERSION,
    **job_model.answer_encoding(parts.text),
  )
  root = storage.path(workdir)
  done = root / 'answers.jsonl'
  if done.exists():
    console.say(f'these answers are there: see {done}')
  else:
    groups = [good[i : i + GROUP] for i in range(0, len(good), GROUP)]
    written = []
    looking = terminal.weighted_progress(
      console.progress('looking'), groups, list(map(len, groups))
    )
    for number, group in enumerate(looking):
      part = root / 'parts' / f'{number:06d}.jsonl'
      if not part.exists():
        rows = ask_about_images(config, unified, group, size)
        output_files.write_atomically(
          part,
          ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows),
        )
      written.append(part.read_bytes().decode())
    output_files.write_atomically(done, ''.join(written))
  text = done.read_bytes().decode()
  rows = [json.loads(line) for line in text.splitlines()]
  console.say(answers_table(rows[:_TABLE]))
  if len(rows) > _TABLE:
    console.say(f'and {len(rows) - _TABLE} more')
  console.say(f'{len(rows)} images in {done}')
  return rows


def list_images(wanted: Sequence[str]) -> list[str]:
  """Returns the image files that are meant, each once, in order.

  Raises:
    ValueError: one of `wanted` means no file.
  """
  found = {}
  for name in wanted:
    if not storage.is_local(storage.path(name)):
      below = _in_bucket(name)
    elif os.path.isdir(name):
      below = sorted(
        str(path)
        for path in pathlib.Path(name).rglob('*')
        if path.suffix.lower() in SUFFIXES and path.is_file()
      )
    elif os.path.exists(name):
      below = [name]
    else:
      below = sorted(filter(os.path.isfile, glob.glob(name, recursive=True)))
    if not below:
      raise ValueError(f'there is no image at {name}')
    found |= dict.fromkeys(below)
  return list(found)


def _in_bucket(name: str) -> list[str]:
  """The image files of a bucket that are meant."""
  path = storage.path(name)
  if '*' in name:
    return storage.glob(name)
  if not path.is_dir():
    return [name] if path.exists() else []
  return [
    str(path / file)
    for file in sorted(storage.list_files(path))
    if pathlib.PurePath(file).suffix.lower() in SUFFIXES
  ]


def image_fault(name: str, size: int) -> str:
  """Returns what is wrong with an image file, or ''."""
  try:
    image_reader.load_image(storage.path(name), size)
  except ValueError as error:
    return str(error).partition('cannot be read: ')[2]
  return ''


def ask_about_images(
  config: Settings,
  unified: unified_model.UnifiedModel,
  names: Sequence[str],
  size: int,
) -> list[dict]:
  """Returns what the model says about some images, one record each."""
  pixels = np.stack(
    [image_reader.load_image(storage.path(n), size) for n in names]
  )
  codes = unified.encode(pixels)
  rows = [{'image': name} for name in names]
  ladder = [config.decoding]
  if config.caption:
    captions = unified.describe(names, codes, ladder, config.seed)
    for row, (caption,) in zip(rows, captions):
      row['caption'] = caption
  if config.choices:
    asked = [
      {
        'question': question,
        'choices': [choice.strip() for choice in config.choices],
      }
      for question in config.questions
    ]
    answers = unified.answer(codes, [asked] * len(names))
  elif config.questions:
    replies = unified.reply(names, codes, config.questions, ladder, config.seed)
    answers = [[reply for (reply,) in each] for each in replies]
  if config.questions:
    for row, each in zip(rows, answers):
      row['answers'] = dict(zip(config.questions, each))
  return rows


def answers_table(rows: Sequence[dict]) -> str:
  """Returns what was said as text: an image, and a line for each answer."""
  lines = []
  for row in rows:
    lines.append(row['image'])
    if 'caption' in row:
      lines.append(f'  {row["caption"]}')
    lines += [f'  {q} {a}' for q, a in row.get('answers', {}).items()]
  return '\n'.join(lines)
