"""Text comes back from its ids; what is unknown says so."""

import copy
import json

import phi_tokens
import pytest
import tokenizers
import transformers

from hermesflow_jax.sequences import text_tokenizer

WORDS = ['red', 'blue', 'circle', 'a', 'two', '.', '?', ':']


@pytest.fixture(scope='module')
def text():
  return text_tokenizer.word_level_tokenizer(WORDS)


def in_transformers(text, **options):
  """Returns the tokenizer of transformers for a file that we wrote."""
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=text.backend, eos_token=text_tokenizer.EOS, **options
  )


def test_known_words_come_back(text):
  caption = 'a red circle . two blue ?'
  (ids,) = text.encode([caption])
  assert len(ids) == 7
  assert text.decode(ids) == caption


def test_every_word_has_its_own_id(text):
  ids = [i for row in text.encode(WORDS) for i in row]
  assert sorted(ids) == list(range(2, 2 + len(WORDS)))
  assert text.size == 2 + len(WORDS)
  assert text.eos not in ids


def test_ids_do_not_depend_on_the_order_of_words(text):
  other = text_tokenizer.word_level_tokenizer(WORDS[::-1] + WORDS)
  assert other.encode(WORDS) == text.encode(WORDS)


def test_case_and_missing_spaces_make_no_difference(text):
  assert text.encode(['A Red circle.']) == text.encode(['a red circle .'])
  shouted = text_tokenizer.word_level_tokenizer(
    [word.upper() for word in WORDS]
  )
  assert shouted.encode(WORDS) == text.encode(WORDS)


def test_unknown_words_are_one_unknown_word(text):
  (ids,) = text.encode(['a purple circle'])
  assert text.decode(ids) == 'a <|unk|> circle'


def test_decoding_stops_at_the_end(text):
  (ids,) = text.encode(['red circle'])
  assert text.decode([*ids, text.eos, *ids]) == 'red circle'
  assert text.decode([text.eos, *ids]) == ''


def test_nothing_encodes_to_nothing(text):
  assert text.encode([]) == []
  assert text.encode(['', 'red']) == [[], text.encode(['red'])[0]]
  assert text.decode([]) == ''


def test_a_saved_tokenizer_is_the_same(text, tmp_path):
  path = str(tmp_path / 'text.json')
  text.save(path)
  actual = text_tokenizer.load(path)
  caption = ['A red circle: two zebras?', 'blue']
  assert actual.encode(caption) == text.encode(caption)
  assert (actual.size, actual.eos) == (text.size, text.eos)
  assert actual.decode(text.encode(caption)[0]) == text.decode(
    text.encode(caption)[0]
  )


@pytest.mark.parametrize('make', [phi_tokens.tokenizer, None])
@pytest.mark.parametrize(
  'written',
  [
    'A red circle: two zebras?',
    'Größe 😀, ﬁ e\u0301\u2028\x00',
    '  two   blue\t\nrings ',
    'a <|endoftext|>b',
    '',
  ],
)
def test_a_file_means_what_it_means_to_transformers(
  text, make, written, tmp_path
):
  text = make() if make else text
  text.save(str(tmp_path / 'tokenizer.json'))
  text = text_tokenizer.load(str(tmp_path / 'tokenizer.json'))
  theirs = transformers.PreTrainedTokenizerFast(
    tokenizer_file=str(tmp_path / 'tokenizer.json'),
    bos_token=text_tokenizer.EOS,
    eos_token=text_tokenizer.EOS,
  )
  assert (text.size, text.eos) == (len(theirs), theirs.eos_token_id)
  (row,) = text.encode([written])
  assert row == theirs.encode(
    written, add_special_tokens=False, split_special_tokens=True
  )
  assert text.decode(row) == theirs.decode(row)
  assert json.loads(text.content) == json.loads(
    theirs.backend_tokenizer.to_str()
  )


@pytest.mark.parametrize(
  'pad, size', [('a', (3, 2)), ('[PAD]', (4, 2)), ('?', (3, 2))]
)
def test_a_file_without_its_end_gets_one_as_in_transformers(
  tmp_path, pad, size
):
  backend = tokenizers.Tokenizer(
    tokenizers.models.WordLevel({'?': 0, 'a': 1}, unk_token='?')
  )
  # Texts of transformers are neither padded nor cut.
  backend.enable_padding(pad_token=pad, pad_id=1, length=7)
  backend.enable_truncation(1)
  path = str(tmp_path / 'tokenizer.json')
  backend.save(path)
  theirs = transformers.PreTrainedTokenizerFast(
    tokenizer_file=path,
    bos_token=text_tokenizer.EOS,
    eos_token=text_tokenizer.EOS,
  )
  text = text_tokenizer.load(path)
  assert (text.size, text.eos) == (len(theirs), theirs.eos_token_id) == size
  for written in ('a', 'a <|endoftext|>', f'a {pad}'):
    assert text.encode([written])[0] == theirs.encode(
      written, add_special_tokens=False, split_special_tokens=True
    )
  theirs.backend_tokenizer.no_padding()
  theirs.backend_tokenizer.no_truncation()
  assert json.loads(text.content) == json.loads(
    theirs.backend_tokenizer.to_str()
  )


def test_a_copy_of_a_tokenizer_keeps_the_words_of_users_apart(text):
  written = 'a <|endoftext|> red'
  assert copy.deepcopy(text).encode([written]) == text.encode([written])


def test_a_folder_of_transformers_is_read(text, tmp_path):
  in_transformers(text).save_pretrained(tmp_path)
  actual = text_tokenizer.load(str(tmp_path))
  assert actual.encode(['a red circle']) == text.encode(['a red circle'])
  assert (actual.size, actual.eos) == (text.size, text.eos)


def test_what_cannot_be_read_is_named(tmp_path):
  (tmp_path / 'broken.json').write_text('{"version": 1')
  (tmp_path / 'empty').mkdir()
  for name in ('missing', 'broken.json', 'empty'):
    with pytest.raises(ValueError, match=f'tokenizer at .*{name}'):
      text_tokenizer.load(str(tmp_path / name))


def test_a_folder_without_words_is_refused(text, tmp_path):
  in_transformers(text).save_pretrained(tmp_path)
  (tmp_path / 'tokenizer.json').unlink()
  config = json.dumps({'tokenizer_class': 'CodeGenTokenizer'})
  (tmp_path / 'tokenizer_config.json').write_text(config)
  with pytest.raises(ValueError, match='must hold tokenizer.json, or vocab'):
    text_tokenizer.load(str(tmp_path))


@pytest.mark.parametrize(
  'content, message',
  [
    (b'version https://git-lfs.github.com/spec/v1', 'Git LFS pointer; run'),
    (b'[]', 'got a list'),
    (b'{"model": ', 'got a damaged file'),
    # Newer versions of Python read as deep a list to its end.
    (b'[' * 5000, '(nested too deeply|got a damaged file)'),
    (b'\xef\xbb\xbf{}', 'UTF-8 without a byte order mark'),
    ('{}'.encode('utf-16'), 'UTF-8 without a byte order mark'),
    (b'{}', 'a dict at "model", .* got the keys of an empty object'),
    (b'{"model": {}, "a": 1}', 'a list at "added_tokens", .* keys model, a;'),
  ],
)
def test_a_damaged_file_of_a_tokenizer_is_named(tmp_path, content, message):
  path = tmp_path / 'tokenizer.json'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f'tokenizer.json must .*{message}'):
    text_tokenizer.load(str(tmp_path))
  with pytest.raises(
    ValueError, match=f'{path}: it must .*{message}'
  ) as caught:
    text_tokenizer.load(str(path))
  assert str(caught.value).count('tokenizer.json') == 1


@pytest.mark.parametrize('names', [(), ('config.json',)])
def test_a_folder_without_a_tokenizer_is_refused_in_a_line(tmp_path, names):
  for name in names:
    (tmp_path / name).write_text('{}')
  with pytest.raises(ValueError, match='it must hold tokenizer.json') as caught:
    text_tokenizer.load(str(tmp_path))
  assert '\n' not in str(caught.value)


def test_a_question_is_asked_as_in_llava():
  assert text_tokenizer.user_turn('Why ?') == 'USER: \nWhy ? ASSISTANT:'


def test_a_tokenizer_is_read_from_a_bucket(text, tmp_path, bucket):
  in_transformers(text).save_pretrained(tmp_path)
  bucket.put_folder('phi', tmp_path)
  bucket.put('phi/model.safetensors', b'weights, which are left alone')
  for name in ('gs://bucket/phi', 'gs://bucket/phi/tokenizer.json'):
    actual = text_tokenizer.load(name)
    assert actual.encode(['a red circle']) == text.encode(['a red circle'])
  assert ('GET', 'phi/model.safetensors') not in bucket.seen
  with pytest.raises(ValueError, match='no tokenizer at gs://bucket/none'):
    text_tokenizer.load('gs://bucket/none')


@pytest.mark.parametrize(
  'make',
  [
    phi_tokens.tokenizer,
    lambda: text_tokenizer.word_level_tokenizer(
      [*WORDS, 'assistant', 'user', *'"-!']
    ),
  ],
)
@pytest.mark.parametrize(
  'reply', ['red', 'a red circle', 'two.', '"a red circle"', '!', '12 - 3']
)
def test_a_reply_is_encoded_as_it_follows_its_prompt(make, reply):
  text = make()
  prompt = text_tokenizer.user_turn('a red circle?')
  before, row = text.encode([prompt, f'{prompt} {reply}'])
  (tokens,) = text.encode_replies([reply])
  assert before + tokens == row


@pytest.mark.parametrize('reply', ['red', 'a "red" circle, 12 - 3', 'Größe 😀'])
def test_a_reply_comes_back_without_the_space_before_it(reply):
  text = phi_tokens.tokenizer()
  (tokens,) = text.encode_replies([reply])
  assert text.decode([*tokens, text.eos]) == f' {reply}'
  assert text.decode_reply([*tokens, text.eos, 3]) == reply


def test_a_reply_without_words_has_no_tokens():
  text = phi_tokens.tokenizer()
  assert text.encode_replies(['', 'red']) == [[], [2266]]
  assert text.decode_reply([text.eos]) == ''


def test_a_prompt_without_words_is_refused():
  with pytest.raises(
    ValueError, match="caption_prompt must have words, got ' '"
  ):
    text_tokenizer.check_prompt('caption_prompt', ' ')
