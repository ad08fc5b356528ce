"""Damaged files of strangers give one line: no traceback, no hang, no memory.

The search takes minutes and grows with FUZZ_EXAMPLES:

  FUZZ_EXAMPLES=3000 pytest -m slow tests/fuzzing/test_foreign_bytes.py

Put the bytes that it finds into tests/fuzzing/cases/<reader>/: the quick test
reads all files there.
"""

import contextlib
import hashlib
import os
import pathlib
import resource
import shutil
import signal

import foreign_readers
import hypothesis
import mutations
import pytest

CASES = pathlib.Path(__file__).parent / 'cases'
EXAMPLES = int(os.environ.get('FUZZ_EXAMPLES', '300'))
MOST_SECONDS = 20
MOST_NEW_MEMORY = 2**30


@contextlib.contextmanager
def limited():
  """Raises if the block hangs or takes much memory."""

  def stop(*_):
    raise TimeoutError(f'it takes more than {MOST_SECONDS} s')

  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  handler = signal.signal(signal.SIGALRM, stop)
  signal.alarm(MOST_SECONDS)
  try:
    yield
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  assert (peak - before) * 1024 < MOST_NEW_MEMORY


def check(reader, folder, data):
  """Reads damaged bytes: all is read, or refused by one line of text."""
  (folder / reader.file).write_bytes(data)
  with limited():
    try:
      reader.read(folder)
    except ValueError as error:
      message = str(error)
      assert type(error).__module__.split('.')[0] != 'json', message
      assert message


def prepared(name, folder):
  """Returns a reader whose valid files are in a folder, and its bytes."""
  reader = foreign_readers.READERS[name]
  reader.prepare(folder)
  return reader, (folder / reader.file).read_bytes()


@pytest.mark.parametrize('name', foreign_readers.READERS)
def test_the_undamaged_file_is_read(tmp_path, name):
  reader, _ = prepared(name, tmp_path)
  reader.read(tmp_path)


@pytest.mark.parametrize('name', foreign_readers.READERS)
def test_damage_that_was_found_before_is_one_line(tmp_path, name):
  reader, _ = prepared(name, tmp_path)
  for path in sorted((CASES / name).glob('*')):
    check(reader, tmp_path, path.read_bytes())


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:Generating overly large repr')
@pytest.mark.parametrize('name', foreign_readers.READERS)
def test_no_damage_ends_in_a_traceback(tmp_path, name):
  reader, valid = prepared(name, tmp_path)
  reader.read(tmp_path)
  strategy = mutations.damaged(valid)
  if name == 'safetensors':
    strategy = strategy | strategy.map(mutations.with_header_length)

  @hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(strategy)
  def search(data):
    try:
      check(reader, tmp_path, data)
    except BaseException:
      # The shrunk bytes are written last.
      digest = hashlib.sha256(name.encode()).hexdigest()[:8]
      shutil.copy(tmp_path / reader.file, tmp_path / f'find-{digest}')
      raise

  search()
