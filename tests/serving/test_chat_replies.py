"""Log-probabilities in OpenAI's form, and texts that stop a stream."""

import numpy as np
import pytest
import served
import tiny
import tokenizers

from hermesflow_jax.sampling import reply_scores
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_bytes
from hermesflow_jax.sequences import tokenizer_files
from hermesflow_jax.serving import chat_replies


@pytest.fixture(scope='module')
def byte_level():
  """A byte-level BPE without merges: a token a byte."""
  letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
  vocabulary = {letter: number for number, letter in enumerate(letters)}
  core = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
  core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  core.decoder = tokenizers.decoders.ByteLevel()
  special = tokenizer_files.prepare(core, text_tokenizer.EOS)
  return text_tokenizer.TextTokenizer(core, special)


def test_bytes_of_tokens_are_the_text(byte_level):
  words = 'a \x00ß語\U0001f600\xad~'
  (ids,) = byte_level.encode([words])
  data = [token_bytes.token_bytes(byte_level, token) for token in ids]
  assert b''.join(data).decode() == words
  text = tiny.text()
  (ids,) = text.encode(['red circle'])
  assert [token_bytes.token_bytes(text, token) for token in ids] == [
    b'red',
    b'circle',
  ]


def test_log_probabilities_have_openai_form():
  text = tiny.text()
  (ids,) = text.encode(['red circle blue'])
  tokens = np.array([*ids[:2], text.eos])
  likely = np.array([[ids[0], ids[2]]] * 3)
  logps = np.array([[-0.25, -np.inf]] * 3)
  scores = reply_scores.TokenScores(np.array([-0.25, -1.0, 0]), likely, logps)
  reply = chat_replies.to_reply(text, tokens)
  content = chat_replies.token_logprobs(text, reply, scores, 2)['content']
  assert [(item['token'], item['logprob']) for item in content] == [
    ('red', -0.25),
    ('circle', -1.0),
  ]
  assert content[0] == {
    'token': 'red',
    'logprob': -0.25,
    'bytes': [114, 101, 100],
    'top_logprobs': [
      {'token': 'red', 'logprob': -0.25, 'bytes': [114, 101, 100]},
      {'token': 'blue', 'logprob': -9999.0, 'bytes': [98, 108, 117, 101]},
    ],
  }


def test_log_probabilities_come_with_replies_and_in_streams():
  stub = served.Stub()
  run = stub.run

  def scored(kind, requests):
    if kind[0] != 'score':
      return run(kind, requests)
    return [
      reply_scores.TokenScores(
        np.arange(len(r.tokens)), np.zeros((3, 2), int), np.zeros((3, 2))
      )
      for r in requests
    ]

  stub.run = scored
  with served.client(served.server(stub)) as client:
    body = served.question(logprobs=True, top_logprobs=1, n=2)
    reply = client.post('/v1/chat/completions', json=body).json()
    streamed = client.post('/v1/chat/completions', json=body | {'stream': True})
  for choice in reply['choices']:
    content = choice['logprobs']['content']
    assert [item['logprob'] for item in content] == [0, 1]
    assert [len(item['top_logprobs']) for item in content] == [1, 1]
  assert streamed.text.count('"top_logprobs"') == 4


@pytest.mark.parametrize(
  'words, stops, certain',
  [
    ('a red ri', ['ring'], 'a red '),
    ('a red ri', ['a', 'x'], 'a red ri'),
    ('a red\ufffd', [], 'a red'),
    ('aab', ['abc'], 'a'),
  ],
)
def test_what_later_tokens_may_change_waits(words, stops, certain):
  assert chat_replies.certain_text(words, stops) == certain
