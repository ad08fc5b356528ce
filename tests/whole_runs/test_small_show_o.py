"""The whole path at Show-o's vocabulary: convert, play, use, learn, reverse.

Each step is one fixture that starts the step as a user does, from files that
earlier steps wrote; each test checks files of one step (docs/walk.md shows the
same commands). The run of 1,024 codes is slow: pytest -m slow -s
"""

import contextlib
import functools
import io
import json
import pathlib
import shlex
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from PIL import ImageOps
import pytest
import small_records
import small_show_o

import configs.pair_dpo
from conversions import convert
from conversions.files import source
from conversions.files import tensors
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import text_tokenizer
import main

ROOT = pathlib.Path(__file__).parents[2]
RECORDS = small_records.splits()
CHOICES = ('yes', 'dark blue', "Grandma's marmalade", 'on the left of it')
QUESTIONS = ('what is in the image?', 'where is it?')
# Fewer steps than a user's walk: the test is about files, not about learning.
STEPS = 2
QUICK = (
  f'--config.play.optim.steps={STEPS}',
  '--config.play.curation_sampler.steps=2',
  '--config.play.evaluation_sampler.steps=2',
)
# A latent this near to 0 may fall on either side: sums have another order.
LATENT_ERROR = 1e-3


class Walk:
  """The folder in which a user starts all commands.

  Attributes:
    folder: the folder.
    pixels: side of the images.
  """

  def __init__(self, folder: pathlib.Path, pixels: int):
    self.folder, self.pixels = folder, pixels

  def job(self, name: str, *arguments: str) -> pathlib.Path:
    """Runs a job in this process; returns the folder it writes into."""
    verbosity = main.logging.get_verbosity()
    errors = io.StringIO()
    try:
      with contextlib.chdir(self.folder), contextlib.redirect_stderr(errors):
        code = main.main(['main.py', self.config(name), *arguments])
    finally:
      main.logging.set_verbosity(verbosity)
    assert code == 0, errors.getvalue()
    return self.folder / 'runs' / name

  def config(self, name: str) -> str:
    """Returns the flag that names the config of a job."""
    return f'--config={ROOT}/configs/{name}.py:small_{self.pixels}'

  def command(self, *arguments: str) -> None:
    """Runs a command in a process of its own."""
    done = subprocess.run(
      [sys.executable, *arguments],
      cwd=self.folder,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stderr

  def convert(self, *arguments: str) -> None:
    """Runs `python -m conversions.convert` in this process."""
    errors = io.StringIO()
    with contextlib.chdir(self.folder), contextlib.redirect_stderr(errors):
      code = convert.main(list(arguments), terminal.silent())
    assert code == 0, errors.getvalue()

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


@pytest.fixture(
  scope='module', params=[256, pytest.param(512, marks=pytest.mark.slow)]
)
def case(request, tmp_path_factory) -> Walk:
  """The case as the documented command writes it."""
  walk = Walk(tmp_path_factory.mktemp('walk'), request.param)
  small_show_o.write(walk.folder / 'small', walk.codes)
  return walk


@pytest.fixture(scope='module')
def converted(case) -> Walk:
  """Both models are converted."""
  case.convert('showo', 'small/showo', str(case.base))
  case.convert('magvitv2', 'small/magvitv2', 'small/checkpoints/magvitv2')
  return case


@pytest.fixture(scope='module')
def played(converted) -> Walk:
  """Two rounds of self-play are in runs/pair_dpo."""
  converted.job('pair_dpo', *QUICK)
  return converted


@pytest.fixture(scope='module')
def generated(played) -> pathlib.Path:
  """The trained model drew, in a process of its own."""
  played.command(
    str(ROOT / 'main.py'),
    played.config('generate'),
    '--config.init_from=runs/pair_dpo',
    '--config.each=2',
  )
  return played.folder / 'runs' / 'generate'


@pytest.fixture(scope='module')
def curated(played) -> pathlib.Path:
  """The trained model made pairs."""
  return played.job(
    'curate', '--config.init_from=runs/pair_dpo', '--config.sampler.steps=2'
  )


@pytest.fixture(scope='module')
def learned(played, curated) -> pathlib.Path:
  """The trained model learned from pairs of its own."""
  return played.job(
    'learn',
    '--config.init_from=runs/pair_dpo',
    f'--config.pairs={curated}',
    f'--config.optim.steps={STEPS}',
  )


@pytest.fixture(scope='module')
def returned(played) -> pathlib.Path:
  """The trained model is in the official layout again."""
  played.convert('showo', 'runs/pair_dpo', 'hermesflow_pytorch', '--reverse')
  return played.folder / 'hermesflow_pytorch'


def test_the_case_is_the_same_for_the_same_seed(case, tmp_path):
  again = small_show_o.write(tmp_path, case.codes)
  for name in ('showo', 'magvitv2'):
    first, second = (
      source.find(str(folder / name)).tensors
      for folder in (case.folder / 'small', again)
    )
    assert first.keys() == second.keys()
    for key, tensor in first.items():
      np.testing.assert_array_equal(tensor.read(), second[key].read())


def test_pytorch_reads_the_case(case):
  torch = pytest.importorskip('torch')
  folder = case.folder / 'small' / 'showo'
  state = torch.load(folder / 'pytorch_model.bin', weights_only=True)
  tensor = state['showo.model.embed_tokens.weight']
  assert tensor.dtype == torch.bfloat16
  assert tuple(tensor.shape) == (58_498, 32)
  bits = tensor.view(torch.int16).numpy()
  found = source.find(str(folder)).tensors['showo.model.embed_tokens.weight']
  np.testing.assert_array_equal(bits, found.read().view(np.int16))


def test_commands_of_the_page_can_be_read():
  commands = [
    shlex.split(line)
    for line in (ROOT / 'docs' / 'walk.md').read_text().splitlines()
    if line.startswith('python ')
  ]
  jobs = []
  for _, *arguments in commands:
    if arguments[:2] == ['-m', 'conversions.convert']:
      convert.command_line().parse_args(arguments[2:])
    elif arguments[0] == 'main.py':
      arguments[1] = arguments[1].replace('=configs', f'={ROOT}/configs')
      values, _ = main.options(arguments)
      job = main.job_of(values.pop('job'))
      settings.build(job.Settings, values)
      jobs.append(job)
    else:
      assert arguments[0] == 'tests/small_show_o.py'
  assert len(set(jobs)) == 5


def leaves(values: dict, name: str = '') -> dict:
  """Returns the values of nested settings by dotted name."""
  flat = {}
  for key, value in values.items():
    if isinstance(value, dict):
      flat |= leaves(value, f'{name}{key}.')
    else:
      flat[f'{name}{key}'] = value
  return flat


@pytest.mark.parametrize('pixels', [256, 512])
def test_small_settings_are_show_os_but_for_sizes_and_counts(pixels):
  small, show_o = (
    leaves(configs.pair_dpo.get_config(f'{name}_{pixels}').to_dict())
    for name in ('small', 'show_o')
  )
  assert small.keys() == show_o.keys()
  differences = {name for name in small if small[name] != show_o[name]}
  sizes = {name for name in differences if name.startswith('sizes.')}
  assert not any('vocab' in name or 'dtype' in name for name in sizes)
  assert differences - sizes == {
    'init_from',
    'tokenizer',
    'text',
    'missing',
    'inputs',
    'held_out',
    'gallery',
    'files.inputs.annotations',
    'files.inputs.images',
    'files.held_out.annotations',
    'files.held_out.images',
    'play.rounds',
    'play.images',
    'play.curation_sampler.steps',
    'play.evaluation_sampler.steps',
    'play.rules.least_win',
    'play.optim.lr',
    'play.optim.steps',
    'play.batch',
    'play.log_every',
    'play.save_every',
    'play.sample_every',
  }


def test_the_converted_model_has_real_vocabulary_sizes(converted):
  record = converted_model.read_record(str(converted.base), 'showo')
  vocab = record.sizes.vocab
  assert (vocab.text_size, vocab.codebook_size) == (50_295, 8_192)
  assert (vocab.size, vocab.mask) == (58_498, 58_497)
  assert (record.sizes.image_tokens, record.dtype) == (
    converted.codes,
    'bfloat16',
  )
  assert converted.text.size == vocab.text_size


def square(image: Image.Image, size: int) -> Image.Image:
  """Returns torchvision's Resize (bicubic) and CenterCrop of an image."""
  width, height = image.size
  short, long = min(width, height), max(width, height)
  long = int(size * long / short)
  resized = (size, long) if width <= height else (long, size)
  image = image.resize(resized, Image.Resampling.BICUBIC)
  left, top = (int(round((side - size) / 2.0)) for side in resized)
  return image.crop((left, top, left + size, top + size))


def upright(path: pathlib.Path) -> Image.Image:
  """Returns an image as a viewer shows it, on white where it is clear."""
  image = ImageOps.exif_transpose(Image.open(path))
  if image.mode == 'RGBA':
    white = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(white, image)
  return image.convert('RGB')


def test_images_have_the_sizes_of_coco_and_journeydb(case):
  for record in RECORDS['inputs'] + RECORDS['held_out']:
    path = case.folder / 'small' / 'data' / 'images' / record.file
    assert upright(path).size == record.size


def test_codes_of_images_are_those_of_torchvisions_pixels(played):
  records = sorted(RECORDS['inputs'], key=lambda record: record.name)
  pixels = np.stack(
    [
      square(
        upright(played.folder / 'small/data/images' / record.file),
        played.pixels,
      )
      for record in records
    ]
  )
  tokenizer = initial_model.open(
    played.folder / 'small' / 'checkpoints' / 'magvitv2'
  ).load_tokenizer(None)
  latents = np.concatenate(
    [
      np.asarray(
        jax.jit(lambda model, x: model.encode(x))(
          tokenizer, pixels[n : n + 1] / np.float32(127.5) - 1
        )
      )
      for n in range(len(pixels))
    ]
  ).reshape(len(records), played.codes, -1)
  with np.load(
    played.folder / 'runs' / 'pair_dpo' / 'round_1' / 'codes.npz'
  ) as file:
    codes = file['real']
  bits = codes[..., None] >> np.arange(13)[::-1] & 1
  certain = np.abs(latents) > LATENT_ERROR
  assert certain.mean() > 0.98
  np.testing.assert_array_equal(bits[certain], (latents > 0)[certain])
  # The tokenizer tells images and patches apart.
  assert all(len(np.unique(row)) > 10 for row in codes)


@pytest.mark.parametrize('number', [1, 2])
def test_pairs_hold_codes_and_captions_of_the_vocabulary(played, number):
  folder = played.folder / 'runs' / 'pair_dpo' / f'round_{number}'
  pairs = lines(folder / 'pairs.jsonl')
  assert [pair['id'] for pair in pairs] == sorted(
    record.name for record in RECORDS['inputs']
  )
  for pair in pairs:
    for name in ('codes_win', 'codes_lose'):
      assert len(pair[name]) == played.codes
      assert 0 <= min(pair[name]) <= max(pair[name]) < 8_192
    for name in ('caption_win', 'caption_lose'):
      (tokens,) = played.text.encode([pair[name]])
      assert played.text.decode(tokens) == pair[name]
      assert tokens and max(tokens) < 50_295
  for kind in ('caption', 'image'):
    assert any(not pair[f'{kind}_dropped'] for pair in pairs)


def test_answers_about_candidates_are_among_the_choices(played):
  choices = {
    record.name: [question['choices'] for question in record.questions]
    for record in RECORDS['inputs']
  }
  path = played.folder / 'runs/pair_dpo/round_1/candidates/000000.jsonl'
  for row in lines(path):
    assert len(row['answers']) == 3
    for answers in row['answers']:
      for answer, options in zip(answers, choices[row['id']], strict=True):
        assert answer in options


def test_the_run_tells_the_results_of_all_rounds(played):
  folder = played.folder / 'runs' / 'pair_dpo'
  results = json.loads((folder / 'results.json').read_text())
  assert [row['round'] for row in results['rounds']] == [0, 1, 2]
  for row in results['rounds']:
    for name in ('understanding', 'generation'):
      assert 0 <= row[name] <= 1
  assert (folder / 'report.html').read_text().rstrip().endswith('</html>')


def test_a_round_writes_finite_metrics_of_each_step(played):
  for number in (1, 2):
    folder = played.folder / 'runs' / 'pair_dpo' / f'round_{number}'
    metrics = lines(folder / 'training' / 'metrics.jsonl')
    assert [row['step'] for row in metrics] == list(range(1, STEPS + 1))
    for row in metrics:
      assert np.isfinite(row['train/loss']) and row['train/skipped'] == 0


def test_trained_weights_are_float32_and_differ_from_the_base(played):
  base = arrays(played.base)
  before = base
  for number in ('1', '2'):
    path = played.folder / 'runs' / 'pair_dpo' / 'checkpoints' / number
    trained = arrays(path)
    assert trained.keys() == base.keys()
    for name, array in trained.items():
      assert array.dtype == np.float32 and np.isfinite(array).all()
      assert (array != before[name]).any(), name
      rounded = array.astype(jnp.bfloat16).astype(np.float32)
      assert (array != rounded).any(), name
    before = trained


def test_the_trained_model_draws_png_files(generated, played):
  rows = lines(generated / 'images.jsonl')
  assert len(rows) == 4
  for row in rows:
    with Image.open(generated / row['file']) as image:
      assert (image.format, image.mode) == ('PNG', 'RGB')
      assert image.size == (played.pixels,) * 2
      assert len(image.getcolors(2**24)) > 100


@pytest.mark.parametrize('form', ['free', 'choices'])
def test_the_trained_model_answers_questions(played, form):
  choices = [f'--config.choices={CHOICES!r}'] if form == 'choices' else []
  played.job(
    'understand',
    '--config.init_from=runs/pair_dpo',
    "--config.images=('small/data/images/b*.jpg',)",
    f'--config.questions={QUESTIONS!r}',
    f'--workdir=runs/{form}',
    *choices,
  )
  rows = lines(played.folder / 'runs' / form / 'answers.jsonl')
  assert [pathlib.Path(row['image']).name for row in rows] == [
    'bench.jpg',
    'bridge.jpg',
  ]
  for row in rows:
    assert row['caption']
    assert tuple(row['answers']) == QUESTIONS
    for answer in row['answers'].values():
      assert answer in CHOICES if form == 'choices' else answer


def test_curation_writes_pairs_of_each_input(curated, played):
  manifest = json.loads((curated / 'manifest.json').read_text())
  assert manifest['inputs'] == len(RECORDS['inputs'])
  assert set(manifest['sha256']) > {'pairs.jsonl'}
  pairs = lines(curated / 'pairs.jsonl')
  assert len(pairs) == len(RECORDS['inputs'])
  with np.load(
    played.folder / 'runs' / 'pair_dpo' / 'round_1' / 'codes.npz'
  ) as file:
    np.testing.assert_array_equal(
      [pair['codes'] for pair in pairs], file['real']
    )


def test_a_learned_model_is_another_and_starts_a_job(learned, played):
  results = json.loads((learned / 'results.json').read_text())
  assert results['steps'] == STEPS and results['inputs'] > 0
  trained = arrays(played.folder / 'runs' / 'pair_dpo' / 'checkpoints' / '2')
  for name, array in arrays(learned / 'model').items():
    assert (array != trained[name]).any(), name
  played.job(
    'understand',
    '--config.init_from=runs/learn',
    "--config.images=('small/data/images/corgi.jpg',)",
    '--workdir=runs/of_learned',
  )
  (row,) = lines(played.folder / 'runs' / 'of_learned' / 'answers.jsonl')
  assert row['caption']


def test_the_reversed_model_has_the_official_names_and_shapes(returned, case):
  official = source.find(str(case.folder / 'small' / 'showo'))
  trained = source.find(str(returned))
  assert trained.tensors.keys() == official.tensors.keys()
  for name, tensor in trained.tensors.items():
    assert tensor.shape == official.tensors[name].shape
    assert tensor.dtype == tensors.FLOATS[0]
  for name, value in trained.config.items():
    if not name.startswith('_') and name in official.config:
      assert value == official.config[name]


def test_the_reversed_model_converts_to_the_trained_one(returned, played):
  played.convert('showo', str(returned), 'small/checkpoints/again')
  trained = arrays(played.folder / 'runs' / 'pair_dpo' / 'checkpoints' / '2')
  again = arrays(played.folder / 'small' / 'checkpoints' / 'again')
  assert trained.keys() == again.keys()
  for name, array in trained.items():
    assert array.tobytes() == again[name].tobytes(), name


def test_the_missing_case_is_named_with_its_command(tmp_path, capfd):
  with contextlib.chdir(tmp_path):
    code = main.main(
      ['main.py', f'--config={ROOT}/configs/pair_dpo.py:small_512']
    )
  error = capfd.readouterr().err
  assert code == 2 and error.count('\n') == 1
  assert 'python tests/small_show_o.py small --codes 1024' in error
