"""Laws of the server's page: one file, no foreign address, its questions."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import page_server
import pytest
from starlette import testclient

from hermesflow_jax.serving import page
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import shape_world


@pytest.fixture(scope='module')
def reply():
  return testclient.TestClient(page_server.app()).get('/')


def script(reply):
  return re.search('<script>(.*?)</script>', reply.text, re.DOTALL)[1]


def values(text):
  match = re.search('<script type="application/json"[^>]*>(.*?)</script>', text)
  return json.loads(match[1])


def test_the_page_asks_nothing_of_other_servers(reply):
  assert reply.status_code == 200
  assert '//' not in re.sub(r'^ *//.*$', '', reply.text, flags=re.MULTILINE)
  assert not re.findall(
    '<(?:link|img|script)[^>]*(?:href|src)="(?!data:,|")', reply.text
  )
  policy = reply.headers['content-security-policy']
  assert "default-src 'none'" in policy
  assert "connect-src 'self'" in policy
  assert 'unsafe' not in policy
  assert 'http' not in policy


def test_the_browser_runs_exactly_the_script_and_style_of_the_page(reply):
  policy = reply.headers['content-security-policy']
  for tag in 'script', 'style':
    (text,) = re.findall(f'<{tag}>(.*?)</{tag}>', reply.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'" in policy


@pytest.mark.skipif(shutil.which('node') is None, reason='node parses')
def test_the_script_parses(reply):
  run = subprocess.run(
    ['node', '--check', '-'], input=script(reply).encode(), capture_output=True
  )
  assert run.returncode == 0, run.stderr


def test_the_script_finds_its_elements(reply):
  used = set(re.findall(r"byId\('([a-z-]+)'\)", script(reply)))
  # `key` is there with a key alone.
  assert used - {'key'} <= set(re.findall(r' id="([a-z-]+)"', reply.text))


def test_each_input_has_a_label(reply):
  inputs = re.findall(
    r'<(?:input|textarea|select)[^>]*id="([a-z-]+)"', reply.text
  )
  labels = set(re.findall(r'<label for="([a-z-]+)"', reply.text))
  labels |= set(re.findall(r'<label[^>]* for="([a-z-]+)"', reply.text))
  # Its label is around it.
  assert set(inputs) - {'check'} <= labels
  assert len(inputs) > 8


@pytest.mark.parametrize('key', [False, True])
def test_the_key_has_a_field_where_the_server_needs_it(key):
  text = testclient.TestClient(page_server.app(key=key)).get('/').text
  assert ('id="key"' in text) == key


def test_names_of_models_are_text():
  html, _ = page.render(
    {'name': '</script><b>"', 'isWorld': False, 'needsKey': False}
  )
  assert '<b>' not in html.replace('<b>Best of</b>', '')
  assert values(html)['name'] == '</script><b>"'


def test_only_the_embedded_world_has_examples(reply):
  assert values(reply.text)['examples'] == list(page.EXAMPLES)
  many = page_server.Words((*shape_world.WORDS, *map(str, range(900))))
  other = testclient.TestClient(page_server.app(many)).get('/').text
  assert values(other)['examples'] == values(other)['questions'] == []
  few = page_server.Words(shape_world.WORDS[:-1])
  assert not page.knows_only_shapes(few)


@pytest.mark.parametrize('prompt', page.EXAMPLES)
def test_examples_have_questions(prompt):
  assert len(page.questions(prompt)) >= 2


@pytest.mark.parametrize('question', page.QUESTIONS)
def test_questions_for_any_picture_have_a_known_form(question):
  caption_questions.parse_question(question)


def test_questions_come_with_the_answers_of_the_prompt():
  client = testclient.TestClient(page_server.app())
  reply = client.get('/page/prompt', params={'text': ' Two  blue squares. '})
  assert {
    'question': 'how many blue squares are there ?',
    'answer': 'two',
  } in reply.json()['questions']


@pytest.mark.parametrize(
  'prompt', ['', 'a dragon', 'four rings and four crosses', 'a ring of']
)
def test_other_prompts_have_no_questions(prompt):
  assert page.questions(prompt) == []


def test_words_that_the_model_does_not_know_are_named():
  client = testclient.TestClient(page_server.app())
  reply = client.get('/page/prompt', params={'text': 'a dragon'})
  assert reply.json()['unknown'] == ['dragon']
