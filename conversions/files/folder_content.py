"""Describes folders that hold no weights, for error messages."""

from collections.abc import Sequence
import difflib
import pathlib

# Where weights may lie that are named, but not taken.
DEEPER = ('*/*/*', '*/*/*/*')
# Ratio of names, 0 to 1, from which on a file may be a renamed one.
ALIKE = 0.8
# Longer names are not alike, and more names take seconds to compare.
LONGEST_ALIKE = 80
MOST_COMPARED = 200


def describe(folder: pathlib.Path, expected: Sequence[str]) -> str:
  """Returns what a folder holds in place of weights, and what to do about it.

  Args:
    folder: folder without weights.
    expected: names of files with weights.

  Returns:
    E.g. 'x.safetensors.part: if x.safetensors.part is x.safetensors, rename
    it'.
  """
  nearest, compared = {}, 0
  for path in sorted(folder.iterdir()):
    ratios = {expected[0]: 0.0}
    if len(path.name) <= LONGEST_ALIKE and compared < MOST_COMPARED:
      compared += 1
      ratios = {
        name: difflib.SequenceMatcher(None, path.name, name).ratio()
        for name in expected
      }
    nearest[path.name] = max(ratios.items(), key=lambda item: item[1])
  if not nearest:
    return 'an empty folder'
  names = sorted(nearest, key=lambda name: (-nearest[name][1], name))
  listed = ', '.join(names[:5]) + (', ...' if len(names) > 5 else '')
  for depth in DEEPER:
    for path in sorted(folder.glob(depth)):
      if path.name in expected:
        return f'{listed:.200}: give {path.parent}, which holds {path.name}'
  usual, ratio = nearest[names[0]]
  if ratio >= ALIKE:
    return f'{listed:.200}: if {names[0]:.99} is {usual}, rename it'
  return f'{listed:.200}'
