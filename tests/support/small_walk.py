"""Commands of docs/walk.md on the small Show-o."""

import contextlib
import functools
import io
import json
import pathlib
from unittest import mock

import jax
import numpy as np
import small_records

from conversions import convert
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import text_tokenizer
import main

ROOT = pathlib.Path(__file__).parents[2]
# Records of the walk: each colour mode, and images that are wide, high, square.
# Questions of both splits have at most 16 tokens, so that programs are shared.
NAMES = {
  'inputs': ('lighthouse', 'mug', 'station', 'tulips'),
  'held_out': ('bridge', 'skateboard'),
}
RECORDS = {
  split: [record for record in records if record.name in NAMES[split]]
  for split, records in small_records.splits().items()
}
CHOICES = ('yes', 'dark blue', "Grandma's marmalade", 'on the left of it')
QUESTIONS = ('what is in the image?', 'where is it?')
# Less of everything than on a user's walk: tests check files, not learning.
STEPS = 1
IMAGES = 2
# Rows of a batch: two images or captions, questions about an image.
CHUNK = '--config.chunk=2'
CURATED = (
  CHUNK,
  '--config.files.annotations=small/data/few_inputs.jsonl',
  f'--config.inputs={len(RECORDS["inputs"])}',
  f'--config.images={IMAGES}',
  '--config.sampler.steps=2',
)
_IMAGES = '"images": "small/data/images"'
_CAPTIONS = '"annotations": "small/data/few_{}.jsonl"'
# Two sets of captions, and conversations.
_SETS = [
  f'{{{_CAPTIONS.format("inputs")}, {_IMAGES}}}',
  f'{{{_CAPTIONS.format("held_out")}, {_IMAGES}, "weight": 0.5}}',
  f'{{"annotations": "small/data/conversations.json", {_IMAGES}}}',
]
TUNED = (
  CHUNK,
  f'--config.t2i=[{_SETS[0]}, {_SETS[1]}]',
  f'--config.mmu=[{_SETS[2]}]',
  '--config.optim.steps=2',
  '--config.batches={"t2i": 1, "mmu": 1, "lm": 1}',
)
QUICK = (
  CHUNK,
  '--config.files.inputs.annotations=small/data/few_inputs.jsonl',
  '--config.files.held_out.annotations=small/data/few_held_out.jsonl',
  f'--config.inputs={len(RECORDS["inputs"])}',
  f'--config.held_out={len(RECORDS["held_out"])}',
  f'--config.play.optim.steps={STEPS}',
  '--config.play.optim.warmup=0.0',
  '--config.play.curation_sampler.steps=2',
  '--config.play.evaluation_sampler.steps=2',
  f'--config.play.images={IMAGES}',
  '--config.play.batch=1',
  '--config.gallery=1',
  '--config.official=False',
)


class Walk:
  """The folder in which a user starts all commands.

  Attributes:
    folder: the folder.
    pixels: side of the images.
  """

  def __init__(self, folder: pathlib.Path, pixels: int):
    self.folder, self.pixels = folder, pixels

  def job(
    self, name: str, *arguments: str, devices: int = 1, code: int = 0
  ) -> pathlib.Path:
    """Runs a job; returns the folder it writes into.

    Args:
      name: of the job.
      *arguments: further flags.
      devices: how many of the CPU's devices the job sees.
      code: expected exit code.
    """
    verbosity = main.logging.get_verbosity()
    errors = io.StringIO()
    try:
      with (
        contextlib.chdir(self.folder),
        contextlib.redirect_stderr(errors),
        mock.patch.object(jax, 'device_count', lambda: devices),
      ):
        actual = main.main(['main.py', self.config(name), *arguments])
    finally:
      main.logging.set_verbosity(verbosity)
    assert actual == code, errors.getvalue()
    return self.folder / 'runs' / name

  def config(self, name: str) -> str:
    """Returns the flag that names the config of a job."""
    return f'--config={ROOT}/configs/{name}.py:small_{self.pixels}'

  def convert(self, *arguments: str) -> None:
    """Runs `python -m conversions.convert` in this process."""
    errors = io.StringIO()
    with contextlib.chdir(self.folder), contextlib.redirect_stderr(errors):
      code = convert.main(list(arguments), terminal.silent())
    assert code == 0, errors.getvalue()

  def write_few(self) -> None:
    """Writes annotations of the records of the walk."""
    data = self.folder / 'small' / 'data'
    for split, names in NAMES.items():
      rows = lines(data / f'{split}.jsonl')
      few = [row for row in rows if row['id'] in names]
      (data / f'few_{split}.jsonl').write_text(output_files.json_lines(few))
    # The form of LLaVA's data.
    conversations = [
      {
        'id': row['id'],
        'image': row['img_path'],
        'conversations': [
          {'from': 'human', 'value': f'<image>\n{question["question"]}'},
          {'from': 'gpt', 'value': question['answer']},
        ],
      }
      for row in few
      for question in row['questions']
    ]
    (data / 'conversations.json').write_text(json.dumps(conversations))

  @property
  def codes(self) -> int:
    """Codes of an image."""
    return (self.pixels // 16) ** 2

  @property
  def base(self) -> pathlib.Path:
    """The converted Show-o."""
    return self.folder / 'small' / 'checkpoints' / f'show_o_{self.pixels}'

  @functools.cached_property
  def text(self) -> text_tokenizer.TextTokenizer:
    """The text tokenizer."""
    return text_tokenizer.load(str(self.folder / 'small' / 'phi-1_5'))


def lines(path: pathlib.Path) -> list[dict]:
  """Returns the objects of a file of JSON lines."""
  return [json.loads(line) for line in path.read_text().splitlines()]


def arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a converted or trained Show-o, by name."""
  record = converted_model.read_record(str(path), 'showo')
  model = converted_model.restore_model(str(path), record)
  named, _ = jax.tree_util.tree_flatten_with_path(model)
  return {jax.tree_util.keystr(name): np.asarray(leaf) for name, leaf in named}
