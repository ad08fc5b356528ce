"""Paths on the command line: `~` is the home folder, '' is a mistake."""

import argparse
import os


def argument(text: str) -> str:
  """Returns a path with `~` or `~name` expanded; a type for `argparse`.

  Shells expand `~` only at the beginning of a word, so not in `--sizes=~/run`.

  Args:
    text: the argument.

  Raises:
    argparse.ArgumentTypeError: the path is empty, as with an unset variable.
  """
  if not text.strip():
    raise argparse.ArgumentTypeError(f'must be a path, got {text!r}')
  return os.path.expanduser(text)
