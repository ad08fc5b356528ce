"""Words of captions as CIDEr compares them: Penn Treebank tokens in lower case.

The official tokenizer is Stanford's, in Java, in the package `pycocoevalcap`.
Where Java or the package is missing, rules in Python take its place; a score
from them is to be marked as not official.
"""

from collections.abc import Sequence
import importlib.util
import pathlib
import re
import shutil
import subprocess

OFFICIAL = 'Stanford PTB tokenizer'
OWN = 'Python rules in the place of the Stanford PTB tokenizer'

_JAR = 'stanford-corenlp-3.4.1.jar'
_CLASS = 'edu.stanford.nlp.process.PTBTokenizer'
# Tokens that pycocoevalcap drops. Its brackets are in capitals, the tokens in
# lower case: so brackets stay as words.
_DROPPED = frozenset(
  ["''", "'", '``', '`', '.', '?', '!', ',', ':', '-', '--', '...', ';']
)
_BRACKETS = {
  '(': '-lrb-',
  ')': '-rrb-',
  '[': '-lsb-',
  ']': '-rsb-',
  '{': '-lcb-',
  '}': '-rcb-',
}
_SYMBOLS = {'€': '$', '£': '#', '—': '--', '–': '--'}
_ABBREVIATIONS = (
  'mr|mrs|ms|dr|st|jr|sr|vs|etc|blvd|ave|rd|co|inc|corp|ltd|prof|gen|gov|'
  'jan|feb|mar|apr|aug|sept|sep|oct|nov|dec'
)
_SPLIT_WORDS = {
  'cannot': 'can not',
  'gonna': 'gon na',
  'gotta': 'got ta',
  'wanna': 'wan na',
  'lemme': 'lem me',
  'gimme': 'gim me',
  "'tis": "'t is",
  "'twas": "'t was",
}
_TOKEN = re.compile(
  r'https?://\S+|www\.\S+|[\w.+-]+@[\w-]+\.[\w.]+'
  r'|</?[a-z][^<>]*>'
  r"|'(?:tis|twas)\b|'n'|'\d\ds\b"
  r'|(?:[a-z]\.){2,}'
  rf'|\b(?:{_ABBREVIATIONS}|[a-z])\.(?!\w)|\bno\.(?=\s*\d)'
  r"|o'[a-z]+"
  r'|at&t\b'
  r"|[a-z]+?(?=n't\b)|n't\b"
  r"|'(?:s|m|re|ve|ll|d)\b"
  r'|\d+(?:[.,:/]\d+)+(?:-\w+)*'
  r'|\w+(?:[-/]\w+)*(?:\.[a-z]+)*'
  r'|\.\.\.|--+|[?!]+|.'
)


def official_jar() -> pathlib.Path | None:
  """Returns the jar of the official tokenizer; None without it or Java."""
  package = importlib.util.find_spec('pycocoevalcap')
  if package is None or not shutil.which('java'):
    return None
  jar = pathlib.Path(package.origin or '').parent / 'tokenizer' / _JAR
  if package.submodule_search_locations:
    jar = pathlib.Path(package.submodule_search_locations[0], 'tokenizer', _JAR)
  return jar if jar.is_file() else None


def tokenize(captions: Sequence[str]) -> tuple[list[str], str]:
  """Returns captions as words with spaces between, and the tokenizer's name.

  Args:
    captions: N texts.

  Returns:
    (N texts, OFFICIAL or OWN).

  Raises:
    ValueError: Java ends with an error.
  """
  lines = [' '.join(caption.split()) for caption in captions]
  jar = official_jar()
  if jar is None:
    return [_own_words(line) for line in lines], OWN
  options = ['-preserveLines', '-lowerCase']
  result = subprocess.run(
    ['java', '-cp', str(jar), _CLASS, *options],
    input='\n'.join(lines),
    capture_output=True,
    check=False,
    encoding='utf-8',
  )
  texts = result.stdout.split('\n')
  if result.returncode or len(texts) < len(lines):
    raise ValueError(
      f'java must tokenize captions, got exit code {result.returncode} and '
      f'{len(texts)} of {len(lines)} lines: {result.stderr.strip()[-200:]}'
    )
  return [_kept(text.split()) for text in texts[: len(lines)]], OFFICIAL


def _kept(tokens) -> str:
  return ' '.join(token for token in tokens if token not in _DROPPED)


def _own_words(text: str) -> str:
  """Returns a caption as words by our rules."""
  text = text.lower().translate(str.maketrans('“”‘’', '""\'\''))
  tokens = []
  for token in _TOKEN.findall(text):
    token = token.strip()
    if token in _SPLIT_WORDS:
      tokens += _SPLIT_WORDS[token].split()
    elif token and token != '"':
      token = _BRACKETS.get(token, _SYMBOLS.get(token, token))
      tokens.append(token)
  return _kept(tokens)
