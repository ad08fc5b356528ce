"""Models of full size convert within 8 GB and 3 minutes, and agree.

  pytest -m slow -s tests/whole_runs/test_full_size.py

makes random weights in the official layouts (12 GB of disk, removed after),
and wants PyTorch: about ten minutes and 12 GB of memory on two cores.
"""

import gc
import json
import pathlib
import shutil
import subprocess
import sys
import time

import command_line
from flax import nnx
import numpy as np
import pytest

from conversions import weight_table
from conversions.files import safetensors_file
from conversions.tables import magvit_table
from conversions.tables import showo_table
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import vocabulary

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
SHOW_O = showo.ShowOConfig(
  vocabulary.Vocab(50295, 8192, 50256), phi.PhiConfig()
)
MOST_BYTES, MOST_SECONDS = 8e9, 180


def write_random(folder, entries, record):
  """Writes weights of a sound scale; norms are near 1, biases near 0."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  expected = {n: (e.shape, np.dtype(e.dtype)) for n, e in entries.items()}

  def make(name):
    shape, dtype = expected[name]
    if name.startswith('quantize.'):
      return entries[name].make()
    array = rng.standard_normal(shape, dtype)
    if 'norm' in name:
      return np.float32(name.endswith('weight')) + np.float32(0.1) * array
    fan_in = np.prod(shape[1:]) if len(shape) > 1 else 400
    if 'embed' in name:
      fan_in = 1
    return array * np.float32(fan_in**-0.5)

  safetensors_file.write(
    folder / 'model.safetensors', expected, make, {'format': 'pt'}
  )
  (folder / 'config.json').write_text(json.dumps(record))


# A process counts as its own the memory of the one that it was forked from.
WRAPPER = """
import json, resource, subprocess, sys
run = subprocess.run(sys.argv[1:], capture_output=True, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps([run.returncode, run.stdout + run.stderr, peak]))
"""


def run(*arguments):
  """Runs a command as a user would: (output, seconds, peak bytes)."""
  began = time.perf_counter()
  wrapped = subprocess.run(
    [sys.executable, '-c', WRAPPER, sys.executable, '-m', *map(str, arguments)],
    cwd=ROOT,
    text=True,
    capture_output=True,
    check=True,
    env=command_line.environment() | {'JAX_PLATFORMS': 'cpu'},
  )
  code, output, peak = json.loads(wrapped.stdout)
  assert code == 0, output
  return output, time.perf_counter() - began, peak


@pytest.fixture
def folder(tmp_path):
  """An empty folder, removed in the end."""
  yield tmp_path
  shutil.rmtree(tmp_path)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """A folder with `src` (PyTorch), later `ours`; removed in the end."""
  root = tmp_path_factory.mktemp('full')
  model = nnx.eval_shape(lambda: showo.ShowO(SHOW_O, rngs=nnx.Rngs(0)))
  write_random(
    root / 'src',
    weight_table.entries(model, showo_table.TABLE),
    showo_table.official(SHOW_O, 128),
  )
  yield root
  shutil.rmtree(root)


def test_a_show_o_converts_within_memory_and_time(folders):
  _, seconds, peak = run(
    'conversions.convert', 'showo', folders / 'src', folders / 'ours'
  )
  print(f'\nShow-o: {seconds:.0f} s, {peak / 1e9:.2f} GB')
  assert peak <= MOST_BYTES and seconds <= MOST_SECONDS


def phi_logits(folder, tokens, mask):
  """float32[B, T, V] of transformers' Phi."""
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  library = pytest.importorskip('safetensors.torch')
  decoder = SHOW_O.decoder
  with torch.device('meta'):
    model = transformers.PhiForCausalLM(
      transformers.PhiConfig(
        vocab_size=SHOW_O.vocab.size,
        hidden_size=decoder.width,
        intermediate_size=decoder.mlp,
        num_hidden_layers=decoder.layers,
        num_attention_heads=decoder.heads,
        qk_layernorm=True,
        hidden_act='gelu_new',
        partial_rotary_factor=0.5,
        resid_pdrop=0.0,
        attn_implementation='eager',
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
      )
    )
  rotary = type(model.model.rotary_emb)(model.config)
  model.load_state_dict(
    {
      k.removeprefix('showo.'): v
      for k, v in library.load_file(folder / 'model.safetensors').items()
    },
    strict=True,
    assign=True,
  )
  model.model.rotary_emb = rotary
  added = np.where(mask[:, None], 0.0, np.finfo(np.float32).min)
  positions = np.broadcast_to(np.arange(tokens.shape[-1]), tokens.shape)
  with torch.no_grad():
    return model.eval()(
      input_ids=torch.from_numpy(tokens.astype(np.int64)),
      attention_mask=torch.from_numpy(added.astype(np.float32)),
      position_ids=torch.from_numpy(positions.copy()),
      use_cache=False,
    ).logits.numpy()


def test_a_row_of_387_tokens_agrees_with_transformers(folders):
  if not (folders / 'ours').exists():
    run('conversions.convert', 'showo', folders / 'src', folders / 'ours')
  rng = np.random.default_rng(1)
  codes = rng.integers(0, 8192, (1, 256))
  text = rng.integers(0, 50000, 20).tolist()
  rows = text_to_image.t2i_rows(SHOW_O.vocab, [text], codes, 128)
  assert rows.tokens.shape == (1, 387)
  mask = np.asarray(attention_mask.mask_matrix(rows.ar, rows.valid))
  expected = phi_logits(folders / 'src', rows.tokens, mask)
  gc.collect()
  io = folders / 'io.npz'
  np.savez(
    io, t2i_win_ids=rows.tokens, t2i_win_logits=expected, t2i_attention=mask
  )
  output, seconds, peak = run(
    'conversions.verify', 'showo', folders / 'ours', io, '--scale', '10'
  )
  print(
    f'\n{output}{seconds:.0f} s, {peak / 1e9:.2f} GB; logits reach '
    f'{np.abs(expected).max():.1f}'
  )
  assert 'ok     t2i_win_logits' in output and 'tolerance 1e-03' in output


def test_an_image_of_512_pixels_agrees_with_a_statement_in_torch(folder):
  torch = pytest.importorskip('torch')
  library = pytest.importorskip('safetensors.torch')
  import torch_magvit

  model = nnx.eval_shape(
    lambda: magvit.Magvit(magvit_config.SHOW_O, nnx.Rngs(0))
  )
  entries = weight_table.entries(
    model, magvit_table.TABLE, magvit_table.constants(magvit_config.SHOW_O)
  )
  write_random(
    folder / 'src', entries, magvit_table.official(magvit_config.SHOW_O)
  )
  _, seconds, peak = run(
    'conversions.convert', 'magvitv2', folder / 'src', folder / 'ours'
  )
  print(f'\nMAGVIT-v2: {seconds:.0f} s, {peak / 1e9:.2f} GB')
  rng = np.random.default_rng(0)
  pixels = rng.uniform(-1, 1, (1, 3, 512, 512)).astype(np.float32)
  weights = library.load_file(folder / 'src' / 'model.safetensors')
  with torch.no_grad():
    z = torch_magvit.encode(weights, torch.from_numpy(pixels)).numpy()
    powers = 1 << np.arange(12, -1, -1)
    codes = ((z > 0) * powers[:, None, None]).sum(1)
    recon = torch_magvit.decode(weights, torch.from_numpy(codes)).numpy()
  np.savez(
    folder / 'io.npz',
    pixels_0=pixels,
    z_0=z,
    recon_0=recon,
    indices_0=codes.reshape(1, -1),
  )
  output, seconds, peak = run(
    'conversions.verify',
    'magvitv2',
    folder / 'ours',
    folder / 'io.npz',
    '--scale',
    '10',
  )
  print(
    f'{output}{seconds:.0f} s, {peak / 1e9:.2f} GB; pixels reach '
    f'{np.abs(recon).max():.1f}'
  )
