"""LLaVA's instruction files: an image, and turns of a conversation about it.

A record has `id`, `image` and `conversations`, a list of {"from": "human" or
"gpt", "value"}. The first human turn holds the mark <image>. Records of text
alone have no image. Some ids come twice in the released files.
"""

from hermesflow_jax.data import record_values
from hermesflow_jax.data.sources import record_names
from hermesflow_jax.data.sources import rows
from hermesflow_jax.runtime import user_text

_MARK = '<image>'


def is_record(record: object) -> bool:
  """Returns whether a record has turns of a conversation."""
  return isinstance(record, dict) and isinstance(
    record.get('conversations'), list
  )


class LlavaRows(rows.Rows):
  """LLaVA's records in our field names.

  `caption` is the first reply, and `turns` are the (question, reply) texts; a
  record without an image has `text_only`.

  Args:
    inner: the records as the file has them.
  """

  form = 'llava'
  has_repeated_ids = True

  def __init__(self, inner: rows.Rows):
    self._inner = inner

  def __len__(self):
    return len(self._inner)

  def place(self, number):
    """See `Rows`."""
    return self._inner.place(number)

  def read(self, number):
    """See `Rows`."""
    record = self._inner.read(number)
    return with_our_fields(record) if is_record(record) else record


def with_our_fields(record: dict) -> dict:
  """Returns a record with our field names.

  Args:
    record: a record of the file; its own `img_path` and `caption` stay.
  """
  replies = [
    turn.get('value')
    for turn in record['conversations']
    if isinstance(turn, dict) and turn.get('from') in ('gpt', 'assistant')
  ]
  image = record.get('image')
  names = {'img_path': image, 'caption': next(iter(replies), None)}
  if isinstance(record.get('id'), str):
    names['id'] = record_names.id_of(record['id'])
    record = {key: value for key, value in record.items() if key != 'id'}
  if image is None and 'img_path' not in record:
    names['text_only'] = True
  return names | record


def turns(conversations: object) -> list[tuple[str, str]]:
  """Returns the (question, reply) texts of a conversation.

  Args:
    conversations: the turns as the file has them; a system turn is left out.

  Returns:
    Pairs of texts, without the mark of the image.

  Raises:
    ValueError: human and gpt turns do not alternate, or a turn has no text that
      a tokenizer can read.
  """
  texts, expected = [], ('human', 'user')
  for number, turn in enumerate(conversations):
    speaker = turn.get('from') if isinstance(turn, dict) else None
    if number == 0 and speaker == 'system':
      continue
    text = turn.get('value') if isinstance(turn, dict) else None
    if speaker not in expected or not isinstance(text, str):
      raise ValueError(
        f'conversations[{number}] must be a text from {expected[0]}, got '
        f'{str(turn)[:80]!r}'
      )
    _check(f'conversations[{number}]', text)
    texts.append(text.replace(_MARK, '').strip())
    reply_is_next = expected[0] == 'human'
    expected = ('gpt', 'assistant') if reply_is_next else ('human', 'user')
  if not texts or len(texts) % 2:
    raise ValueError('conversations must end with a reply from gpt')
  return list(zip(texts[::2], texts[1::2], strict=True))


def _check(name, text):
  """Raises ValueError for a text that no tokenizer can read."""
  if len(text) > record_values.MOST_CHARACTERS:
    raise ValueError(
      f'{name} must have at most {record_values.MOST_CHARACTERS} characters, '
      f'got {len(text)}'
    )
  try:
    text.encode()
  except UnicodeEncodeError:
    user_text.check(name, text)
