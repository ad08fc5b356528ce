"""Reports words that a text tokenizer does not know."""

from collections.abc import Iterable
from collections.abc import Sequence

from hermesflow_jax.runtime import user_text
from hermesflow_jax.sequences import text_tokenizer

# Number of words that a message names.
_LISTED = 10


def unknown_warning(
  text: text_tokenizer.TextTokenizer, texts: Iterable[str]
) -> str:
  """Returns a line that names words which the tokenizer does not know.

  Args:
    text: text tokenizer.
    texts: texts of the user.

  Returns:
    The warning, or '' if all words are known.
  """
  words = text.unknown_words(texts)
  if not words:
    return ''
  return (
    f'warning: the model does not know {_listed(words)}, and reads <|unk|>; '
    'write other words, or take a model with a larger vocabulary'
  )


def check_choices(
  text: text_tokenizer.TextTokenizer, choices: Sequence[str]
) -> None:
  """Raises ValueError if two choices have the same tokens.

  A model cannot distinguish such choices, e.g. two words that it does not know.

  Args:
    text: text tokenizer.
    choices: answers that a question offers.

  Raises:
    ValueError: names all such choices.
  """
  if not text.has_unknown_words:
    # Different texts have different tokens.
    return
  by_tokens = {}
  choices = list(dict.fromkeys(choices))
  for choice, row in zip(choices, text.encode_replies(choices), strict=True):
    by_tokens.setdefault(tuple(row), []).append(choice)
  equal = [group for group in by_tokens.values() if len(group) > 1]
  if equal:
    words = text.unknown_words([choice for group in equal for choice in group])
    reason = f'; it does not know {_listed(words)}' if words else ''
    pairs = '; '.join(
      f'{", ".join(map(repr, group[:-1]))} and {group[-1]!r}' for group in equal
    )
    raise ValueError(
      f'choices must differ for the model, got {pairs} with the same tokens'
      f'{reason}'
    )


def _listed(words: Sequence[str]) -> str:
  """Returns the first words in quotes, and the number of the others."""
  shown = ', '.join(map(user_text.quote, words[:_LISTED]))
  more = len(words) - _LISTED
  return shown + (f' and {more} more' if more > 0 else '')
