"""A judge that asks an endpoint: cached, counted, shared by processes."""

import json
import threading

import numpy as np
import pytest

from hermesflow_jax.judging import answer_cache
from hermesflow_jax.judging import chat_endpoint
from hermesflow_jax.judging import endpoint_judge
from hermesflow_jax.judging import judge_settings
from hermesflow_jax.judging import usage
from hermesflow_jax.sequences import text_similarity

QUESTIONS = [
  [
    {'question': f'is it {n} ?', 'choices': ['yes', 'no'], 'answer': 'yes'}
    for n in range(count)
  ]
  for count in (2, 0, 3, 1, 1)
]
CODES = np.arange(5, dtype=np.int32)[:, None]
COUNT = sum(map(len, QUESTIONS))


def decode(codes):
  """Images of 2 x 2 pixels in the grey of their code."""
  return np.broadcast_to(
    codes.astype(np.uint8)[:, :, None, None], (len(codes), 2, 2, 3)
  )


class Endpoint:
  """Replies by a function of the text; fails at some request."""

  def __init__(self, answer=lambda text: 'yes', fails_at=None):
    self.asked, self._answer, self._fails_at = [], answer, fails_at

  def ask(self, text, image_url=''):
    self.asked.append((text, image_url))
    if self._fails_at == len(self.asked):
      raise ConnectionError('gone')
    return chat_endpoint.Reply(self._answer(text), 10, 2, 1, 0.5)


def judge(endpoint, folder, process=0, **changes):
  config = judge_settings.JudgeSettings(
    **{
      'kind': 'endpoint',
      'url': 'http://h/v1',
      'model': 'm',
      'parallel': 1,
      'prompt': '{question}',
    }
    | changes
  )
  return endpoint_judge.EndpointJudge(
    config,
    endpoint,
    decode,
    text_similarity.nearest_choices,
    answer_cache.AnswerCache(folder, process),
  )


def about(text):
  """Yes to even questions."""
  return 'Yes.' if int(text.split()[2]) % 2 == 0 else 'no'


EXPECTED = [['yes', 'no'], [], ['yes', 'no', 'yes'], ['yes'], ['yes']]


@pytest.mark.parametrize('parallel', [1, 3])
def test_replies_become_choices_in_the_order_of_the_questions(
  tmp_path, parallel
):
  endpoint = Endpoint(about)
  asking = judge(endpoint, tmp_path, parallel=parallel)
  assert asking(CODES, QUESTIONS) == EXPECTED
  assert len(set(endpoint.asked)) == COUNT
  assert asking.usage == usage.Usage(COUNT, 0, COUNT, COUNT, 70, 14, 3.5)


def test_equal_questions_about_equal_images_are_asked_once(
  tmp_path, monkeypatch
):
  codes, questions = CODES[[0, 2, 0]], [QUESTIONS[n] for n in (0, 2, 0)]
  endpoint = Endpoint(about)
  answers = judge(endpoint, tmp_path / 'one')(codes, questions)
  assert answers == [EXPECTED[n] for n in (0, 2, 0)]
  assert len(endpoint.asked) == len(set(endpoint.asked)) == 5
  # Of two processes, both ask; the third image is in a later block.
  monkeypatch.setattr(endpoint_judge, 'BLOCK', 2)
  group, endpoints = Group(monkeypatch), [Endpoint(about), Endpoint(about)]

  def run(index):
    return judge(endpoints[index], tmp_path / 'two', index)(codes, questions)

  assert group.run(run) == [answers, answers]
  assert sum(len(endpoint.asked) for endpoint in endpoints) == 5


def test_rubbish_is_wrong_and_counted(tmp_path):
  replies = iter(['yes', '', 'zzz', '%', '<think>no</think> Yes!', 'NO', 'x'])
  asking = judge(Endpoint(lambda text: next(replies)), tmp_path)
  answers = asking(CODES, QUESTIONS)
  assert answers == [['yes', ''], [], ['', '', 'yes'], ['no'], ['']]
  assert asking.usage.unmatched == 4


def test_a_blank_reply_is_wrong_with_a_matcher_that_matches_all(tmp_path):
  replies = iter(['yes', '', '<think>cut', 'x', ' \n', 'NO', 'x'])
  asking = judge(Endpoint(lambda text: next(replies)), tmp_path)
  asking._matcher = lambda replies, choices: [0] * len(replies)
  answers = asking(CODES, QUESTIONS)
  assert answers == [['yes', ''], [], ['', 'yes', ''], ['yes'], ['yes']]
  assert asking.usage.unmatched == 3


def test_a_stop_loses_no_reply_and_the_cost_is_that_of_all(tmp_path):
  with pytest.raises(ConnectionError, match='gone'):
    judge(Endpoint(about, fails_at=5), tmp_path)(CODES, QUESTIONS)
  endpoint = Endpoint(about)
  asking = judge(endpoint, tmp_path)
  assert asking(CODES, QUESTIONS) == EXPECTED
  assert len(endpoint.asked) == COUNT - 4
  assert asking.usage.requests == COUNT
  again = judge(Endpoint(fails_at=1), tmp_path)
  assert again(CODES, QUESTIONS) == EXPECTED
  assert again.usage == asking.usage


def test_a_line_that_a_kill_has_cut_is_asked_again(tmp_path):
  judge(Endpoint(about), tmp_path)(CODES, QUESTIONS)
  (file,) = tmp_path.iterdir()
  lines = file.read_bytes()
  file.write_bytes(lines[:-20])
  endpoint = Endpoint(about)
  asking = judge(endpoint, tmp_path)
  assert asking._cache.damaged == 1
  assert asking(CODES, QUESTIONS) == EXPECTED
  assert len(endpoint.asked) == 1
  rows = file.read_text().splitlines()
  assert json.loads(rows[-1]) and len(rows) == COUNT + 1
  assert len(answer_cache.AnswerCache(tmp_path)) == COUNT


@pytest.mark.parametrize(
  'changes',
  [
    {'model': 'other'},
    {'prompt': 'Look. {question}'},
    {'seed': 1},
    {'body': {'top_p': 0.5}},
  ],
)
def test_another_judge_takes_no_reply_of_this(tmp_path, changes):
  judge(Endpoint(), tmp_path)(CODES, QUESTIONS)
  endpoint = Endpoint()
  judge(endpoint, tmp_path, **changes)(CODES, QUESTIONS)
  assert len(endpoint.asked) == COUNT


def test_questions_about_an_image_may_share_a_request(tmp_path):
  def answer(text):
    lines = [line for line in text.split('\n') if line[:1].isdigit()]
    if not lines:
      return about(text)
    return '\n'.join(
      f'{line[0]}. {about(line.split(". ", 1)[1])}' for line in lines
    )

  endpoint = Endpoint(answer)
  asking = judge(endpoint, tmp_path, questions_at_once=2)
  assert asking(CODES, QUESTIONS) == EXPECTED
  assert len(endpoint.asked) == 5
  assert asking.usage == usage.Usage(COUNT, 0, 5, 5, 50, 10, 2.5)


class Group:
  """Two processes as threads: each has its number, and they exchange."""

  def __init__(self, monkeypatch, count=2):
    self._local, self._barrier = threading.local(), threading.Barrier(count)
    self._shares, self._count = [None] * count, count
    for target, value in (
      (endpoint_judge.jax, 'process_count'),
      (endpoint_judge.jax, 'process_index'),
    ):
      monkeypatch.setattr(target, value, getattr(self, value))
    monkeypatch.setattr(endpoint_judge.processes, 'gather', self.gather)
    monkeypatch.setattr(
      endpoint_judge.interrupts, 'raise_if_stopped', lambda: None
    )

  def process_count(self):
    return self._count

  def process_index(self):
    return self._local.index

  def gather(self, ask):
    self._shares[self._local.index] = json.loads(json.dumps(ask()))
    self._barrier.wait(10)
    shares = list(self._shares)
    self._barrier.wait(10)
    return shares

  def run(self, function):
    results = [None] * self._count

    def work(index):
      self._local.index = index
      results[index] = function(index)

    threads = [
      threading.Thread(target=work, args=(i,)) for i in range(self._count)
    ]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join(20)
    return results


def test_processes_share_the_images_and_have_the_same_answers(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(endpoint_judge, 'BLOCK', 2)
  alone = judge(Endpoint(about), tmp_path / 'alone')
  assert alone(CODES, QUESTIONS) == EXPECTED
  group, endpoints = Group(monkeypatch), [Endpoint(about), Endpoint(about)]

  def run(index):
    asking = judge(endpoints[index], tmp_path / 'both', index)
    return asking(CODES, QUESTIONS), asking.usage

  first, second = group.run(run)
  assert first == second == (EXPECTED, alone.usage)
  asked = [set(endpoint.asked) for endpoint in endpoints]
  assert asked[0] and asked[1] and not asked[0] & asked[1]
  assert len(asked[0] | asked[1]) == COUNT
  files = sorted(path.name for path in (tmp_path / 'both').iterdir())
  assert files == ['replies-00000.jsonl', 'replies-00001.jsonl']
  # A single process goes on where two have stopped.
  monkeypatch.undo()
  assert judge(Endpoint(fails_at=1), tmp_path / 'both')(CODES, QUESTIONS) == (
    EXPECTED
  )
