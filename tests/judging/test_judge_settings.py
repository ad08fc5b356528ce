"""Settings of the judge: faults before work, and keys in no message."""

import json

import pytest

from hermesflow_jax.judging import judge_settings
from hermesflow_jax.judging import question_prompts
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import settings

ENDPOINT = {'kind': 'endpoint', 'url': 'http://host:1/v1', 'model': 'm'}


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'kind': 'people'}, "kind must be '', pixels, model, .* got 'people'"),
    ({'kind': 'model'}, "init_from must be given with kind model, got ''"),
    (ENDPOINT | {'url': ''}, "url must be given with kind endpoint, got ''"),
    (ENDPOINT | {'model': ''}, 'model must be given with kind endpoint'),
    (ENDPOINT | {'kind': ''}, "kind must be endpoint with url, got ''; give k"),
    ({'answers': 'a'}, 'kind must be files with answers'),
    (ENDPOINT | {'url': 'host:8000'}, "got 'host:8000'"),
    (ENDPOINT | {'url': 'http://host:99999'}, 'Port out of range'),
    (ENDPOINT | {'url': 'http://ho st/v1'}, 'must be an address'),
    (ENDPOINT | {'url': 'http://a..b/v1'}, 'host name has an empty or too'),
    (ENDPOINT | {'url': f'http://{"a" * 64}.org/v1'}, 'or too long part'),
    (ENDPOINT | {'prompt': 'Answer.'}, 'must have the field {question}'),
    (ENDPOINT | {'prompt': '{question} {x}'}, 'must have no fields but'),
    (ENDPOINT | {'body': {'messages': []}}, 'body must not have messages'),
    (ENDPOINT | {'parallel': 0}, 'parallel must be between 1 and 256, got 0'),
    (ENDPOINT | {'timeout': 0.0}, 'timeout must be more than 0'),
  ],
)
def test_a_setting_that_does_not_fit_is_named(changes, message):
  with pytest.raises(ValueError, match=message):
    settings.build(judge_settings.JudgeSettings, changes)


@pytest.mark.parametrize(
  'changes',
  [
    {'url': 'http://user:sk-secret@host/v1'},
    {'url': 'http://host/v1?key=sk-secret'},
    {'key_variable': 'sk-secret'},
  ],
)
def test_a_key_in_a_setting_is_refused_and_not_repeated(changes):
  with pytest.raises(ValueError) as error:
    settings.build(judge_settings.JudgeSettings, ENDPOINT | changes)
  assert 'secret' not in str(error.value)


def test_pace_may_change_when_a_run_resumes_and_the_judge_may_not():
  def identity(**changes):
    judge = settings.build(judge_settings.JudgeSettings, ENDPOINT | changes)
    return identities.identity_of(
      judge_settings.JudgeSettings, settings.to_json_types(judge)
    )

  pace = {
    'timeout': 1.0,
    'retries': 0,
    'rate': 5.0,
    'parallel': 2,
    'url': 'http://other/v1',
    'key_variable': 'KEY',
    'probe': False,
    'cache': 'x',
  }
  assert identity(**pace) == identity()
  for change in (
    {'model': 'other'},
    {'prompt': '{question}'},
    {'seed': 1},
    {'questions_at_once': 2},
    {'body': {'top_p': 0.5}},
  ):
    assert identity(**change) != identity()


def test_the_config_has_the_defaults():
  import configs.pair_dpo

  values = configs.pair_dpo.get_config().to_dict()['judge']
  judge = settings.build(judge_settings.JudgeSettings, values)
  assert judge == judge_settings.JudgeSettings()
  assert json.dumps(values)


def test_several_replies_are_read_by_their_numbers():
  read = question_prompts.read
  assert read('1. red\n\n3) two.\n7. no', 3) == ['red', '', 'two.']
  assert read('red', 2) == ['', '']
  assert read('2', 1) == ['2']
  text = question_prompts.write(
    '{question} {choices}',
    [{'question': f'q{n} ?', 'choices': ['a', 'b']} for n in range(2)],
  )
  assert text.startswith('There are 2 questions')
  assert text.endswith('1. q0 ? a, b\n\n2. q1 ? a, b')
