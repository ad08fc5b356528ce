"""Words of users stay text, and words that a model does not know are named."""

import functools

import phi_tokens
import pytest
import tokenizers

from hermesflow_jax.sequences import known_words
from hermesflow_jax.sequences import text_tokenizer

WORDS = ['red', 'ring', 'a', 'assistant', ':', '<', '|', '>', 'endoftext']


def small():
  return text_tokenizer.word_level_tokenizer(WORDS)


@functools.cache
def with_added_tokens(special):
  """A tokenizer as the official code saves it, with Show-o's own tokens."""
  tokenizer = text_tokenizer.load(str(phi_tokens.FOLDER))
  names = ['<|soi|>', '<|image|>', '[PAD]']
  tokenizer.backend.add_tokens(
    [tokenizers.AddedToken(name, special=special) for name in names]
  )
  return text_tokenizer.TextTokenizer(tokenizer.backend, tokenizer.special)


@pytest.mark.parametrize('make', [small, phi_tokens.tokenizer])
@pytest.mark.parametrize(
  'text',
  ['<|endoftext|>', 'a red <|endoftext|> ring', 'a<|endoftext|><|endoftext|>'],
)
def test_no_text_becomes_the_end(make, text):
  tokenizer = make()
  (row,) = tokenizer.encode([text])
  (reply,) = tokenizer.encode_replies([text])
  assert row and tokenizer.eos not in row
  assert reply and tokenizer.eos not in reply


@pytest.mark.parametrize(
  'text', ['<|endoftext|> a', 'a <|soi|> b', '<|image|>', '[PAD]']
)
@pytest.mark.parametrize('special', [False, True])
def test_no_text_becomes_an_added_token(special, text):
  tokenizer = with_added_tokens(special)
  plain = phi_tokens.tokenizer().size
  (row,) = tokenizer.encode([text])
  assert max(row) < plain and tokenizer.eos not in row
  assert tokenizer.decode(row) == text
  assert (
    tokenizer.encode([text, 'red'])[1]
    == phi_tokens.tokenizer().encode(['red'])[0]
  )


def test_spaces_and_tabs_keep_their_tokens():
  """Phi's tokenizer has added tokens for runs of spaces, which are no words."""
  assert phi_tokens.tokenizer().encode(['a    b\t\tc']) == [
    [64, 50284, 65, 50294, 66]
  ]


def test_half_a_character_is_refused():
  for make in (small, phi_tokens.tokenizer):
    with pytest.raises(ValueError, match='text must be Unicode text'):
      make().encode(['red', 'a \ud83d'])


def test_unknown_words_are_named_as_they_are_written():
  tokenizer = small()
  texts = ['a Purple ring', 'zebra: purple', 'red']
  assert tokenizer.unknown_words(texts) == ['Purple', 'zebra', 'purple']
  warning = known_words.unknown_warning(tokenizer, texts)
  assert "does not know 'Purple', 'zebra', 'purple', and" in warning
  assert known_words.unknown_warning(tokenizer, ['a red ring']) == ''
  many = known_words.unknown_warning(tokenizer, [f'w{n}' for n in range(30)])
  assert "'w9' and 20 more" in many


def test_a_byte_level_tokenizer_knows_all_words():
  assert phi_tokens.tokenizer().unknown_words(['Größe 红 😀']) == []


def test_choices_with_the_same_tokens_are_refused():
  with pytest.raises(ValueError) as error:
    known_words.check_choices(small(), ['red', 'yes', 'no'])
  assert str(error.value) == (
    "choices must differ for the model, got 'yes' and 'no' with the same "
    "tokens; it does not know 'yes', 'no'"
  )
  with pytest.raises(ValueError, match="got 'red' and 'Red'"):
    known_words.check_choices(small(), ['red', 'Red'])
  known_words.check_choices(small(), ['red', 'ring', 'yes'])
  known_words.check_choices(phi_tokens.tokenizer(), ['yes', 'no'])
