"""Captions images and answers questions about them."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import typing

import numpy as np

from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.jobs.setup import reading_model
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text
from hermesflow_jax.sequences import text_tokenizer

with lazy_modules.on_first_use():
  from hermesflow_jax.data import image_reader
  from hermesflow_jax.data import input_faults
  from hermesflow_jax.data import record_files
  from hermesflow_jax.jobs.setup import job_model
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import listed_images
  from hermesflow_jax.jobs.setup import model_hashes
  from hermesflow_jax.jobs.setup import question_inputs
  from hermesflow_jax.jobs.setup import record_checks
  from hermesflow_jax.jobs.setup import vision_tower
  from hermesflow_jax.sampling import batched
  from hermesflow_jax.sampling import question_answering
  from hermesflow_jax.sampling import unified_model

# Images per batch: a stop costs at most the answers of a batch.
GROUP = 256
# Number of images in the printed table.
_TABLE = 20


@dataclasses.dataclass(frozen=True)
class Settings(reading_model.ReadingSettings):
  """Job settings.

  Attributes:
    images: see `image_listing.list_images`.
    files: a data set whose images take the place of `images`; None for none.
    caption: whether to caption each image.
    questions: questions about each image.
    choices: possible answers; the model picks the most likely. () for free
      answers in the model's own words.
    choice_rule: how to score a choice, a name in `choice_rules.RULES`.
    caption_prompt: prompt for a caption.
    decoding: sampler for captions and free answers; `top_k` 1 is greedy.
    seed: random seed.
    on_error: 'raise' stops at an image or a question that cannot be read,
      'skip' leaves it out.
  """

  images: tuple[str, ...]
  files: record_files.Source | None = dataclasses.field(
    default=None, kw_only=True
  )
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
    if not self.images and not self.files:
      raise ValueError(
        "images must not be empty, got (); give images=('a.png',)"
      )
    if not self.caption and not self.questions:
      raise ValueError(
        'caption must be True without questions, got False; give questions, '
        'or caption=True'
      )
    if not all(question.strip() for question in self.questions):
      raise ValueError(
        f'questions must not be empty texts, got {self.questions}'
      )
    if len(set(self.questions)) < len(self.questions):
      raise ValueError(f'questions must differ, got {self.questions}')
    texts = [choice.strip() for choice in self.choices]
    distinct = len(set(texts)) == len(texts) and all(texts)
    if texts and not (distinct and len(texts) >= 2):
      raise ValueError(
        f'choices must be at least two different texts, got {self.choices}'
      )
    for name in ('questions', 'choices'):
      for number, text in enumerate(getattr(self, name)):
        user_text.check_plain(f'{name}[{number}]', text)
    text_tokenizer.check_prompt('caption_prompt', self.caption_prompt)
    question_answering.AnswerConfig(rule=self.choice_rule)


@job_start.releases_workdir
def run(
  config: Settings, workdir: str, console: terminal.Console
) -> list[dict]:
  """Captions the images, answers the questions and prints a table.

  Writes answers batch by batch into `parts/`, then `answers.jsonl`.

  Returns:
    Records written to `answers.jsonl`, one per image.
  """
  path = job_model.locate(config, console)
  answering = question_answering.AnswerConfig(rule=config.choice_rule)
  checks = record_checks.load_text_checks(config, path, answering)
  images, questions = question_inputs.read_inputs(config, checks, console)
  mesh = config.mesh.make()
  text = model_hashes.identity_of_text(checks.text)
  rows = job_start.claim_and_read_results(
    workdir,
    config,
    console,
    'answers.jsonl',
    _are_answers,
    contents=job_start.input_hashes(text.sha256),
    base=model_hashes.weight_hashes(config, path),
    data=config.files and record_files.file_hashes(config.files),
    images={image.name: listed_images.sha256(image) for image in images},
    pixels=image_reader.VERSION,
    **text.choices,
  )
  config = dataclasses.replace(config, questions=questions)
  target = storage.path(workdir) / 'answers.jsonl'
  if rows is None:
    unified = job_model.place_on_mesh(
      config,
      job_model.load_parts(config, path, mesh),
      mesh,
      console,
      answering,
      config.caption_prompt,
    )
    size = vision_tower.image_size(unified)
    output_files.write_atomically(
      target, answer_batches(config, unified, images, size, workdir, console)
    )
    rows = job_start.read_results(target)
  else:
    job_start.report_finished(console, workdir, target)
  console.say(answers_table(rows[:_TABLE]))
  if len(rows) > _TABLE:
    console.say(f'and {len(rows) - _TABLE} more')
  console.say(f'{user_text.counted(len(rows), "image")} in {target}')
  return rows


def answer_batches(
  config: Settings,
  unified: unified_model.UnifiedModel,
  images: Sequence[listed_images.ListedImage],
  size: int,
  workdir: str,
  console: terminal.Console,
) -> str:
  """Answers about all images, in batches; finished batches are read.

  Args:
    config: job settings.
    unified: model that answers.
    images: images.
    size: image side in pixels.
    workdir: run folder.
    console: prints progress.

  Returns:
    JSON lines, an object per image.
  """
  batches = [images[i : i + GROUP] for i in range(0, len(images), GROUP)]
  progress = terminal.weighted_progress(
    console.progress('answering'), batches, list(map(len, batches))
  )
  texts = []
  for number, batch in enumerate(progress):
    part = storage.path(workdir) / 'parts' / f'{number:06d}.jsonl'
    if not job_start.has_rows(part, len(batch), _are_answers):
      rows = ask_about_images(config, unified, batch, size)
      output_files.write_atomically(part, job_results.unicode_json_lines(rows))
    texts.append(part.read_bytes().decode())
  return ''.join(texts)


def ask_about_images(
  config: Settings,
  unified: unified_model.UnifiedModel,
  images: Sequence[listed_images.ListedImage],
  size: int,
) -> list[dict]:
  """Captions some images and answers the questions about them.

  Args:
    config: job settings.
    unified: model that answers.
    images: N images.
    size: image side in pixels.

  Returns:
    N records: image, id and true caption if it has them, caption if
    `config.caption`, and answers by question.
  """
  names = [image.name for image in images]
  pixels = np.stack(
    [image_reader.load_image(image.path, size) for image in images]
  )
  codes = vision_tower.to_read(unified, pixels)
  rows = [{'image': image.name} | image.facts for image in images]
  samplers = [config.decoding]
  if config.caption:
    captions = unified.describe(names, codes, samplers, config.seed)
    for row, (caption,) in zip(rows, captions):
      row['caption'] = caption
  if config.choices:
    questions = [
      {
        'question': question,
        'choices': [choice.strip() for choice in config.choices],
      }
      for question in config.questions
    ]
    answers = unified.answer(codes, [questions] * len(names))
  elif config.questions:
    replies = unified.reply(
      names, codes, config.questions, samplers, config.seed
    )
    answers = [[reply for (reply,) in row] for row in replies]
  if config.questions:
    for row, texts in zip(rows, answers):
      row['answers'] = dict(zip(config.questions, texts))
  return rows


def _are_answers(rows) -> bool:
  """Returns whether JSON objects have the values that the table shows."""
  return all(
    isinstance(row.get('image'), str)
    and isinstance(row.get('answers', {}), dict)
    for row in rows
  )


def answers_table(rows: Sequence[dict]) -> str:
  """Returns text with a line per image, caption and answer."""
  lines = []
  for row in rows:
    name = row['image']
    lines.append(name if name.isprintable() else repr(name))
    if 'caption' in row:
      lines.append(f'  {row["caption"]}')
    lines += [f'  {q} {a}' for q, a in row.get('answers', {}).items()]
  return '\n'.join(lines)
