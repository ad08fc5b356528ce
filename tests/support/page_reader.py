"""Reads pages and drawings of a report, and makes rows to show on them."""

import html.parser
import re

LEAVES = {'meta', 'img'}


class Reader(html.parser.HTMLParser):
  """Collects tags, attributes and text; fails on tags that do not nest."""

  def __init__(self, page):
    super().__init__()
    self.open, self.tags, self.words = [], [], []
    self.feed(page)
    self.close()
    assert not self.open, f'never closed: {self.open}'

  def handle_starttag(self, tag, attrs):
    # The innermost group that has a class.
    group = next((c for _, c in reversed(self.open) if c), None)
    self.tags.append((tag, {**dict(attrs), 'group': group}))
    if tag not in LEAVES:
      self.open.append((tag, dict(attrs).get('class')))

  def handle_endtag(self, tag):
    assert self.open.pop()[0] == tag

  def handle_data(self, data):
    if self.open and self.open[-1][0] != 'style':
      self.words.append(data)

  def all(self, name, group=None):
    """Returns attributes of all elements of a name, in a group if given."""
    return [
      attributes
      for tag, attributes in self.tags
      if tag == name and group in (None, attributes['group'])
    ]

  @property
  def text(self):
    return ' '.join(''.join(self.words).split())


def spots(path):
  """Returns the (x, y) of all corners of a path element, in order."""
  numbers = [float(n) for n in re.findall(r'-?[0-9.]+', path.get('d', ''))]
  return list(zip(numbers[::2], numbers[1::2], strict=True))


def row(number, understanding, generation):
  """Returns a row of `results.json`."""
  return {
    'round': number,
    'scenes': 1234,
    'understanding': understanding,
    'understanding_se': 0.004,
    'generation': generation,
    'generation_se': 0.005,
    'gap': understanding - generation,
    'gap_se': 0.006,
    'caption_similarity': 0.777,
    'caption_similarity_se': 0.003,
    'by_type': {
      'color': {
        'questions': 55,
        'understanding': 0.913,
        'generation': 0.641 + number,
      }
    },
    'geneval': {'colors': 0.123, 'position': 0.456},
    'seconds': {'curation': 12.5},
  }


def steps(first, count):
  """Returns logged metrics of consecutive steps."""
  names = ('loss', 'margin', 'accuracy', 'win_log_ratio', 'lose_log_ratio')
  return [
    {'step': first + n, 'pairs/loss': 0.6}
    | {f'{m}/{k}': 0.1 * n for m in ('und', 'gen') for k in names}
    for n in range(count)
  ]
