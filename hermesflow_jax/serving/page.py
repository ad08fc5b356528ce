"""The page at `/`: draw, ask about pictures, and change parts of them.

The page is a single file without external addresses. Its script calls the
routes of OpenAI's form, and `/page/prompt` for questions about a prompt.
"""

import base64
import hashlib

import jinja2
import markupsafe
from starlette import requests as web
from starlette import responses
from starlette import routing

from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.serving import model_service
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import shape_world

# Prompts of the embedded world, one of every kind of caption.
EXAMPLES = (
  'a large red ring',
  'two blue squares',
  'a circle and a triangle',
  'a cross left of a circle',
  'an orange ring and a black square',
  'three rings and one cross',
)
# Questions about any picture of the embedded world.
QUESTIONS = (
  'how many objects are there ?',
  'what shape is the object ?',
  'what color is the ring ?',
  'how many circles are there ?',
)
_SCRIPTS = 'page_api.js', 'page_mask.js', 'page_pictures.js', 'page.js'


def routes(
  service: model_service.ModelService, name: str, has_key: bool, guarded
) -> list[routing.Route]:
  """Returns the routes of the page.

  Args:
    service: the model.
    name: name of the model.
    has_key: whether the server needs a key.
    guarded: adds the checks of the server to a route.
  """
  unified = service.unified
  is_world = knows_only_shapes(unified.text)
  html, policy = render(
    {
      'name': name,
      'side': service.size,
      'grid': list(unified.grid),
      'needsKey': has_key,
      'isWorld': is_world,
      'captionPrompt': unified.caption_prompt,
      'examples': list(EXAMPLES) if is_world else [],
      'questions': list(QUESTIONS) if is_world else [],
    }
  )
  headers = {
    'Content-Security-Policy': policy,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-cache',
  }

  async def page(request: web.Request):
    del request
    return responses.HTMLResponse(html, headers=headers)

  async def prompt(request: web.Request):
    text = request.query_params.get('text', '')
    return responses.JSONResponse(
      {
        'unknown': unified.text.unknown_words([text]),
        'questions': questions(text) if is_world else [],
      }
    )

  return [
    routing.Route('/', page),
    routing.Route('/page/prompt', guarded(prompt)),
  ]


def knows_only_shapes(text: text_tokenizer.TextTokenizer) -> bool:
  """Returns whether a tokenizer is that of the embedded world.

  Args:
    text: text tokenizer of the model.
  """
  # Words of prompts are some more; other vocabularies have thousands.
  return text.size < 2 * len(shape_world.WORDS) and not text.unknown_words(
    [' '.join(shape_world.WORDS)]
  )


def questions(prompt: str) -> list[dict[str, str]]:
  """Returns questions about a drawing with the answers that its prompt gives.

  Args:
    prompt: text that was drawn; [] where it is no caption of the embedded
      world.
  """
  caption = ' '.join(prompt.lower().replace(',', ' , ').split()).rstrip(' .')
  try:
    records = caption_questions.questions_of_caption('', caption)
  except ValueError:
    return []
  return [
    {'question': record['question'], 'answer': record['answer']}
    for record in records
  ]


def render(values: dict) -> tuple[str, str]:
  """Returns the page as HTML and its Content-Security-Policy.

  Args:
    values: what the script needs to know, as JSON.
  """
  environment = _environment()
  style = environment.get_template('page.css').render()
  script = '\n'.join(
    environment.get_template(name).render() for name in _SCRIPTS
  )
  html = environment.get_template('index.html').render(
    values=values,
    style=markupsafe.Markup(style),
    script=markupsafe.Markup(script),
  )
  policy = {
    'default-src': "'none'",
    'script-src': _hash(script),
    'style-src': _hash(style),
    # Pictures come as base64 and as files of the user.
    'img-src': 'data: blob:',
    'connect-src': "'self'",
    'form-action': "'none'",
    'base-uri': "'none'",
    'frame-ancestors': "'none'",
  }
  return html, '; '.join(f'{name} {value}' for name, value in policy.items())


def _environment() -> jinja2.Environment:
  return jinja2.Environment(
    loader=jinja2.ChoiceLoader(
      [
        jinja2.PackageLoader('hermesflow_jax', 'serving/templates'),
        # Colors are those of the reports.
        jinja2.PackageLoader('hermesflow_jax', 'reports/templates'),
      ]
    ),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
  )


def _hash(text: str) -> str:
  digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
  return f"'sha256-{digest}'"
