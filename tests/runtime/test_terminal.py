"""What a job tells."""

import functools
import os
import pty
import re
import sys
import termios

import pytest
import tqdm

from hermesflow_jax.runtime import terminal


@pytest.mark.parametrize('sizes', [[], [3], [2, 0, 5]])
def test_what_is_counted_are_the_items_of_parts(sizes):
  counted = []

  def progress(items):
    counted.append(len(items))
    for item in items:
      yield item
      counted.append(item)
    counted.append('end')

  done = []
  for part in terminal.weighted_progress(
    progress, list('abc')[: len(sizes)], sizes
  ):
    done.append((part, len(counted)))
  # A part is done when its items are.
  assert [part for part, _ in done] == list('abc')[: len(sizes)]
  assert counted == [sum(sizes), *range(sum(sizes)), 'end']


class Clock:
  """Seconds that pass when a test says so."""

  now = 1000.0

  def __call__(self):
    return self.now


def works(clock, items, seconds):
  """Items that take some seconds."""
  for _ in items:
    clock.now += seconds


@pytest.fixture
def lines():
  """(lines that were written, their clock, `Lines`)."""
  written, clock = [], Clock()
  return written, clock, terminal.Lines(written.append, clock)


def test_without_a_terminal_long_work_writes_a_line_a_minute(lines):
  written, clock, progress = lines
  works(clock, progress.wrap('round 1: drawing images', range(900)), 1.0)
  assert len(written) == 14
  assert written[0] == 'round 1: drawing images 60/900, 14 min left'
  assert written[1] == 'round 1: drawing images 120/900, 13 min left'
  assert written[-1] == 'round 1: drawing images 840/900, 1 min left'


def test_items_of_minutes_write_a_line_each_but_the_last(lines):
  written, clock, progress = lines
  works(clock, progress.wrap('shards', 'abc'), 3600.0)
  assert written == ['shards 1/3, 2.0 h left', 'shards 2/3, 60 min left']


def test_work_within_a_minute_writes_nothing(lines):
  written, clock, progress = lines
  for _ in range(100):
    works(clock, progress.wrap('reading', range(59)), 1.0)
  assert not written


def test_a_run_that_goes_on_counts_from_where_it_was(lines):
  written, clock, progress = lines
  works(clock, progress.wrap('learning', range(50, 100)), 12.0)
  assert written[0] == 'learning 55/100, 9 min left'


def test_work_of_unknown_length_shows_its_count(lines):
  written, clock, progress = lines
  works(clock, progress.wrap('reading', iter('abc')), 60.0)
  assert written[0] == 'reading 1'


def test_work_within_work_is_in_its_line(lines):
  """Shards of 300 inputs, counted; images of each are drawn in 50 s."""
  written, clock, progress = lines
  parts = terminal.weighted_progress(
    lambda items: progress.wrap('round 1: curating', items), 'abc', [300] * 3
  )
  for _ in parts:
    works(clock, progress.wrap('round 1: drawing images', range(50)), 1.0)
  assert written == [
    'round 1: curating 300/900, 2 min left; drawing images 10/50, 1 min left',
    'round 1: curating 600/900, 1 min left; drawing images 20/50, 1 min left',
  ]


def test_work_that_is_left_is_forgotten(lines):
  written, clock, progress = lines
  with pytest.raises(KeyboardInterrupt):
    for _ in progress.wrap('drawing', range(9)):
      raise KeyboardInterrupt
  with pytest.raises(ZeroDivisionError):
    list(progress.wrap('reading', (1 // n for n in (1, 0))))
  works(clock, progress.wrap('learning', range(2)), 60.0)
  assert written == ['learning 1/2, 1 min left']


def test_lines_go_to_standard_error_and_bars_need_a_terminal(capsys):
  clock = Clock()
  with_lines = terminal.terminal(clock)
  works(clock, with_lines.progress('learning')(range(3)), 60.0)
  with_lines.say('done')
  out, err = capsys.readouterr()
  assert out == 'done\n'
  assert err == 'learning 1/3, 2 min left\nlearning 2/3, 1 min left\n'


@pytest.mark.parametrize('columns', [8, 20, 200])
@pytest.mark.parametrize('color', [None, '1'])
def test_bars_fit_on_narrow_terminals_and_have_no_colors(
  monkeypatch, columns, color
):
  clock, (screen, stream) = Clock(), pty.openpty()
  termios.tcsetwinsize(stream, (24, columns))
  if color:
    monkeypatch.setenv('NO_COLOR', color)
  monkeypatch.setattr(tqdm.std, 'time', clock)
  with os.fdopen(stream, 'w') as stderr, os.fdopen(screen, 'rb', 0) as drawn:
    monkeypatch.setattr(sys, 'stderr', stderr)
    wrapped = terminal.terminal(clock).progress('round 1: drawing')(range(9))
    works(clock, wrapped, 10.0)
    stderr.flush()
    text = drawn.read(9_999).decode()
    monkeypatch.undo()
  assert 'r' in text and '\x1b' not in text
  assert max(map(len, re.split('[\r\n]', text))) <= columns


def test_a_name_stands_before_every_label(lines):
  written, clock, progress = lines
  labeled = terminal.with_prefix(
    lambda label: functools.partial(progress.wrap, label), 'round 2'
  )
  works(clock, labeled('writing')(range(2)), 60.0)
  assert written == ['round 2: writing 1/2, 1 min left']
