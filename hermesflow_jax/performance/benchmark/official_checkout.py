"""Official code in a checkout, which its own python runs and times."""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess

from hermesflow_jax.models import flop_count
from hermesflow_jax.models import showo
from hermesflow_jax.performance.benchmark import named_workload

_SCRIPT = pathlib.Path(__file__).with_name('official_calls.py')
# Files of a checkout whose functions are called.
_FILES = ('models/modeling_showo.py', 'training/prompting_utils.py')
# Kinds of workloads that the official code has functions for.
KINDS = ('images', 'replies', 'steps')


@dataclasses.dataclass(frozen=True)
class Checkout:
  """A folder with the official code, and its python.

  Attributes:
    folder: a Gen-Verse/HermesFlow checkout.
    python: interpreter that has its packages.
    limit: most seconds for an answer.
  """

  folder: str
  python: str
  limit: float

  def check(self) -> dict[str, str]:
    """Checks that the official code can be called.

    Returns:
      Versions by name: python and its libraries.

    Raises:
      ValueError: the checkout lacks files or packages.
    """
    folder = pathlib.Path(self.folder)
    if not all((folder / name).is_file() for name in _FILES):
      raise ValueError(
        'official must be a checkout of Gen-Verse/HermesFlow, with '
        f'{" and ".join(_FILES)}, got {self.folder!r}; clone it, and give '
        '--config.official=<its folder>'
      )
    return self._answer({})

  def measure(
    self,
    named: named_workload.NamedWorkload,
    sizes: showo.ShowOConfig,
    threads: int,
    repeats: int,
    seed: int,
  ) -> dict:
    """Times a workload in a new process.

    Args:
      named: the workload, whose kind is in KINDS.
      sizes: transformer sizes.
      threads: thread count.
      repeats: timed calls after a first call; the median is reported.
      seed: random seed for weights and tokens.

    Returns:
      `seconds`, `cpu_seconds` and `peak_bytes`.

    Raises:
      ValueError: the official code fails.
    """
    work = named.workload
    return self._answer(
      {
        'kind': kind(named),
        'work': dataclasses.asdict(work),
        'codes': work.grid**2,
        'vocab': _vocabulary(sizes),
        'sizes': decoder_file(sizes),
        'threads': threads,
        'repeats': repeats,
        'seed': seed,
      },
      threads,
    )

  def _answer(self, request: Mapping, threads: int = 1) -> dict:
    environment = {
      name: value
      for name, value in os.environ.items()
      if name not in ('PYTHONPATH', 'PYTHONHOME')
    } | {
      'OMP_NUM_THREADS': str(threads),
      'MKL_NUM_THREADS': str(threads),
      'CUDA_VISIBLE_DEVICES': '',
      'HF_HUB_OFFLINE': '1',
    }
    # Links stay: that of a virtual environment says where its packages are.
    python = shutil.which(self.python)
    if python is None:
      raise ValueError(
        f'official_python must be a python interpreter, got {self.python!r}; '
        'give --config.official_python=<environment of the checkout>/bin/python'
      )
    try:
      done = subprocess.run(
        [os.path.abspath(python), str(_SCRIPT)],
        input=json.dumps(request),
        cwd=self.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=self.limit,
        check=False,
      )
    except subprocess.TimeoutExpired as error:
      raise ValueError(
        f'limit must be at least the seconds of the official code, got '
        f'{self.limit:g}, in which it did not end; give a larger '
        '--config.limit'
      ) from error
    if done.returncode:
      lines = done.stderr.strip().splitlines() or ['no output']
      raise ValueError(
        'the official code must end with exit code 0, got '
        f'{done.returncode}: {lines[-1]}'
      )
    result = json.loads(done.stdout.strip().splitlines()[-1])
    if 'error' in result:
      raise ValueError(
        'official_python must have the packages of the checkout, got '
        f'{self.python!r}: {result["error"]}'
      )
    return result


def kind(named: named_workload.NamedWorkload) -> str:
  """Returns a workload's kind, e.g. 'images'; '' if it is not in KINDS."""
  return next((name for name in KINDS if getattr(named, name)), '')


def decoder_file(sizes: showo.ShowOConfig) -> dict:
  """Returns the decoder's sizes as entries for Phi's `config.json`."""
  decoder = sizes.decoder
  return {
    'model_type': 'phi',
    'architectures': ['PhiForCausalLM'],
    'vocab_size': sizes.vocab.size,
    'hidden_size': decoder.width,
    'intermediate_size': decoder.mlp,
    'num_hidden_layers': decoder.layers,
    'num_attention_heads': decoder.heads,
    'partial_rotary_factor': decoder.rotary_fraction,
    'rope_theta': decoder.rope_theta,
    'layer_norm_eps': decoder.norm_eps,
    'qk_layernorm': True,
  }


def _vocabulary(sizes: showo.ShowOConfig) -> dict[str, int]:
  names = (
    'size text_size codebook_size eos pad soi eoi t2i mmu image_offset mask'
  )
  return {name: getattr(sizes.vocab, name) for name in names.split()}


def official_flops(
  named: named_workload.NamedWorkload, sizes: showo.ShowOConfig
) -> float:
  """Returns the FLOPs that the official code needs for a workload.

  Each pass computes whole rows, and logits for the whole vocabulary at each
  token.

  Args:
    named: the workload, whose kind is in KINDS.
    sizes: transformer sizes.
  """
  work, decoder = named.workload, sizes.decoder

  def passes(length):
    flops = flop_count.decoder_flops(decoder, length, length)
    return flops + flop_count.head_flops(decoder, length, sizes.vocab.size)

  if named.images:
    # A caption and the empty caption, in each step.
    return 2 * work.count * work.steps * passes(work.text + 3 + work.grid**2)
  if named.replies:
    count, end = work.naive_calls, work.grid**2 + 4 + work.prompt
    lengths = [end + int((n + 0.5) / count * work.tokens) for n in range(count)]
    return work.calls() * sum(map(passes, lengths)) / count
  # Winner and loser of both kinds. A backward pass counts as two.
  return 4 * work.pairs * 4 * passes(work.text + 3 + work.grid**2)
