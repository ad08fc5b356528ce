"""Counts words that make docstrings hard to read: `python tests/support/plain_english.py`.

Noun clauses and pronouns ("what is told of each") stand where a noun should.
Well-kept JAX projects use these words rarely, so the limits below, per 1,000
words of docstrings, tell plain English from a private dialect.
"""

import ast
import collections
from collections.abc import Iterator
import functools
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ('hermesflow_jax', 'conversions', 'configs', 'main.py')
# The most of each word in 1,000 words of docstrings.
LIMITS = {'what': 2, 'one': 3, 'of': 35, 'there': 1}
# Names that do not say what a thing is.
EMPTY_NAMES = frozenset(
  'found said told made wanted asked one each here there room'.split()
)


@functools.cache
def parse(file: pathlib.Path) -> ast.Module:
  """Returns the syntax tree of a file."""
  return ast.parse(file.read_text())


def sources(folders=FOLDERS) -> Iterator[tuple[pathlib.Path, ast.Module]]:
  """Yields (path, syntax tree) of each python file."""
  for folder in folders:
    path = ROOT / folder
    for file in sorted(path.rglob('*.py')) if path.is_dir() else [path]:
      yield file, parse(file)


def docstrings(tree: ast.Module) -> Iterator[str]:
  """Yields the docstrings of a module, its classes and functions."""
  kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
  for node in ast.walk(tree):
    if isinstance(node, kinds) and (text := ast.get_docstring(node)):
      yield text


def count(trees) -> tuple[int, collections.Counter]:
  """Returns (number of words, how often each occurs) of all docstrings."""
  counter = collections.Counter()
  for tree in trees:
    for text in docstrings(tree):
      counter.update(re.findall(r"[a-z']+", text.lower()))
  return counter.total(), counter


def empty_names(tree: ast.Module) -> list[tuple[int, str]]:
  """Returns (line, name) of variables, arguments and functions in EMPTY_NAMES."""
  names = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
      names.append((node.lineno, node.id))
    elif isinstance(node, ast.arg):
      names.append((node.lineno, node.arg))
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      names.append((node.lineno, node.name))
  return [row for row in names if row[1].strip('_') in EMPTY_NAMES]


def aliases(tree: ast.Module) -> list[tuple[int, str]]:
  """Returns (line, alias) of modules of this repository under another name."""
  return [
    (node.lineno, alias.asname)
    for node in ast.walk(tree)
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
    if alias.asname
    and (node.module or '').split('.')[0]
    in ('hermesflow_jax', 'conversions', 'configs')
  ]


def main(folders) -> None:
  """Prints counts a file, worst first, then the totals."""
  rows, trees = [], []
  for path, tree in sources(folders or FOLDERS):
    words, counter = count([tree])
    excess = sum(
      max(0, counter[word] - limit * words / 1000)
      for word, limit in LIMITS.items()
    )
    rows.append((excess, path.relative_to(ROOT), words, counter, tree))
    trees.append(tree)
  for excess, path, words, counter, tree in sorted(
    rows, key=lambda row: row[:2], reverse=True
  ):
    names = ' '.join(f'{line}:{name}' for line, name in empty_names(tree))
    text = ' '.join(f'{word} {counter[word]}' for word in LIMITS)
    if excess > 0 or names:
      print(f'{excess:6.1f}  {path}  ({words} words: {text}) {names}')
  words, counter = count(trees)
  print(f'{words} words of docstrings; per 1,000 words:')
  for word, limit in LIMITS.items():
    print(f'  {word:6} {1000 * counter[word] / words:5.1f}  at most {limit}')
  print('names that say nothing:', sum(len(empty_names(t)) for t in trees))
  print('aliases of our modules:', sum(len(aliases(t)) for t in trees))


if __name__ == '__main__':
  main(sys.argv[1:])
