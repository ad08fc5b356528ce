"""Jobs run without a home folder, and name a temporary folder that is missing."""

import os
import types

import command_line

from hermesflow_jax.data import image_listing
from hermesflow_jax.data import label_fonts
from hermesflow_jax.jobs import understand
from hermesflow_jax.jobs.setup import question_inputs
from hermesflow_jax.jobs.setup import tokenizer_hashes
from hermesflow_jax.runtime import temporary_folders


def test_a_job_needs_no_home_folder(start, stopped, base, monkeypatch):
  for name in ('HOME', 'USER', 'LOGNAME', 'TMPDIR', 'XDG_CACHE_HOME'):
    monkeypatch.delenv(name, raising=False)
  flags = [command_line.CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130


def test_a_start_writes_nothing_beside_the_code(start, stopped, base):
  """The checkout, or the environment of a wheel, may be read-only."""

  def stamps():
    return {
      path: path.stat().st_mtime_ns
      for name in ('hermesflow_jax', 'configs', 'conversions')
      for path in (command_line.ROOT / name).rglob('*')
      if path.is_file() and path.suffix != '.pyc'
    }

  before = stamps()
  flags = [command_line.CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130
  assert stamps() == before


def test_a_missing_temporary_folder_is_named(start, idle, base, monkeypatch):
  def no_folder():
    raise FileNotFoundError(2, 'No usable temporary directory found in [/tmp]')

  def make_folder(*args, **kwargs):
    temporary_folders.TemporaryFolder()

  stub = types.SimpleNamespace(gettempdir=no_folder)
  monkeypatch.setattr(temporary_folders, 'tempfile', stub)
  # A step of the start that needs a folder.
  monkeypatch.setattr(tokenizer_hashes, 'text_hash', make_folder)
  flags = [command_line.CONFIG, f'--config.init_from={base}', '--workdir=run']
  code, output = start(*flags)
  assert code in (1, 2)
  (line,) = output.splitlines()
  assert 'No usable temporary directory' in line


def test_labels_are_drawn_on_a_machine_without_fonts(monkeypatch):
  own = label_fonts.ImageFont.truetype

  def no_font(font, *args, **options):
    if isinstance(font, str):
      raise OSError('cannot open resource')
    return own(font, *args, **options)  # Pillow's own font.

  monkeypatch.setattr(label_fonts.ImageFont, 'truetype', no_font)
  label_fonts._load.cache_clear()
  try:
    font, text = label_fonts.fit_label('a 红 ring', 14)
  finally:
    label_fonts._load.cache_clear()
  assert font is not None and text == r'a \u7ea2 ring'


def test_a_name_that_is_no_text_is_a_fault_of_its_image(tmp_path):
  """Results and reports are UTF-8."""
  (tmp_path / os.fsdecode(b'\xff.png')).write_bytes(b'')
  (name,) = image_listing.list_images([str(tmp_path)])
  fault = question_inputs.image_fault(name)
  assert fault.startswith('its name must be Unicode text')
  assert fault.isprintable()


def test_control_characters_of_a_name_are_not_printed():
  """They would move the cursor or split a line."""
  table = understand.answers_table([{'image': 'a\nb\x1b[0m.png'}])
  assert table.isprintable()
