"""Questions by a language model: read, filtered, written, resumed."""

import json

import chat_server
import pytest

from hermesflow_jax.data import tifa_questions
from hermesflow_jax.jobs import questions
from hermesflow_jax.judging import endpoint_settings
from hermesflow_jax.judging import question_writer
from hermesflow_jax.runtime import terminal


def line(question, answer, choices=('red', 'blue'), kind='color'):
  return json.dumps(
    {
      'element': 'x',
      'element_type': kind,
      'question': question,
      'choices': list(choices),
      'answer': answer,
    }
  )


GOOD, WRONG = line('what color ?', 'red'), line('which color ?', 'blue')


@pytest.mark.parametrize(
  'reply, count, damaged',
  [
    (f'{GOOD}\n{WRONG}', 2, 0),
    (f'```json\n[{GOOD},\n{WRONG}]\n```', 2, 0),
    (f'<think>{GOOD}</think>{GOOD},\nSure!\n' + '{"question": NaN}', 1, 2),
    (line('what ?', 'green') + '\n' + line('', 'red'), 0, 2),
    ('', 0, 0),
    ('[1, null, "x"]', 0, 3),
  ],
)
def test_replies_in_every_form_are_read(reply, count, damaged):
  rows, faults = question_writer.read_rows(reply, 'a', 'a red ring')
  assert (len(rows), faults) == (count, damaged)
  for row in rows:
    assert (row['id'], row['caption']) == ('a', 'a red ring')
    tifa_questions.check_question(row)


def answer(body):
  """Writes two questions, one of them twice; a caption answers 'red'."""
  text = body['messages'][0]['content']
  if text.startswith('Write'):
    assert text.endswith('a red ring') or text.endswith('a red {cup}')
    return '\n'.join([GOOD, WRONG, GOOD, line('is it ?', 'red', kind='odd')])
  return 'Red.' if text.startswith('A picture') else 'yes'


def settings(url, path, **changes):
  endpoint = endpoint_settings.EndpointSettings(
    **{'url': url, 'model': 'm', 'parallel': 2, 'retries': 0} | changes
  )
  return questions.Settings(str(path), endpoint)


@pytest.fixture
def captions(tmp_path):
  path = tmp_path / 'captions.jsonl'
  rows = [
    {'id': 1, 'caption': 'a red ring'},
    {'id': 'b', 'caption': 'a red {cup}'},
  ]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return path


def test_a_question_is_kept_if_the_caption_gives_its_answer(captions, tmp_path):
  with chat_server.Server(answer) as server:
    counts = questions.run(
      settings(server.url, captions), str(tmp_path / 'out'), terminal.silent()
    )
    asked = len(server.bodies)
    again = questions.run(
      settings(server.url, captions), str(tmp_path / 'out'), terminal.silent()
    )
    # The probe alone is new.
    assert len(server.bodies) == asked + 1
  assert again == counts
  assert counts['questions'] == 4 and counts['captions'] == 2
  assert (counts['refused'], counts['repeated'], counts['damaged']) == (2, 2, 0)
  by_id = {'1': [], 'b': []}
  for text in (tmp_path / 'out' / 'questions.jsonl').read_text().splitlines():
    row = tifa_questions.check_question(json.loads(text))
    by_id[str(row['id'])].append(row)
  for rows in by_id.values():
    assert [row['question'] for row in rows] == ['what color ?', 'is it ?']
    assert rows[1]['element_type'] == 'other'


def test_a_model_that_dies_loses_no_reply(captions, tmp_path):
  calls = []

  def dying(body):
    calls.append(body)
    if len(calls) == 4:
      server.faults.append((503, {}, ''))
    return answer(body)

  with chat_server.Server(dying) as server:
    for _ in range(2):
      try:
        counts = questions.run(
          settings(server.url, captions, parallel=1),
          str(tmp_path / 'out'),
          terminal.silent(),
        )
      except ConnectionError as error:
        assert 'endpoint.url must be an endpoint that replies' in str(error)
    # Two probes, the fault, and each of the other requests once.
    texts = [body['messages'][0]['content'] for body in server.bodies]
    assert len(texts) == len(set(texts)) + 2
  assert counts['questions'] == 4


@pytest.mark.parametrize(
  'text, message',
  [
    ('{"id": "a"}', '1 fault in .*caption must be text, got None'),
    ('{"id": "a", "caption": "b"}\n' * 2, 'id a occurs twice'),
    ('', 'must hold captions|no record|empty'),
  ],
)
def test_faults_of_captions_are_named_before_a_request(tmp_path, text, message):
  path = tmp_path / 'captions.jsonl'
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    questions.run(
      settings('http://127.0.0.1:1/v1', path),
      str(tmp_path / 'out'),
      terminal.silent(),
    )
  assert not (tmp_path / 'out').exists()


def test_an_endpoint_must_be_given():
  with pytest.raises(ValueError, match="endpoint.url must be given, got ''"):
    settings('', 'x')
