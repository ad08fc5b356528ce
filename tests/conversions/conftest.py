"""Fixtures of the conversion commands, shared by the files of this folder."""

import conversion_files
import numpy as np
import pytest

from conversions import convert
from conversions import verify
from conversions.files import tensors
from hermesflow_jax.runtime import terminal


@pytest.fixture
def run(capsys):
  """Runs `convert`: (exit code, standard error)."""

  def call(*arguments):
    code = convert.main([str(a) for a in arguments], terminal.silent())
    return code, capsys.readouterr().err

  return call


@pytest.fixture
def run_verify(tmp_path):
  """Runs `verify` on a dictionary of arrays: (exit code, lines)."""

  def call(kind, checkpoint, arrays, *flags):
    path = tmp_path / 'io.npz'
    np.savez(path, **arrays)
    lines = []
    console = terminal.Console(lines.append, terminal.silent().progress)
    code = verify.main([kind, str(checkpoint), str(path), *flags], console)
    return code, lines

  return call


@pytest.fixture(scope='session')
def converted(tmp_path_factory):
  """A converted Show-o and its source; tests must not write to them."""
  root = tmp_path_factory.mktemp('converted')
  src = conversion_files.folder_of(root / 'src', 'showo', tensors.BFLOAT16)
  arguments = ['showo', str(src), str(root / 'ours')]
  assert convert.main(arguments, terminal.silent()) == 0
  return src, root / 'ours'
