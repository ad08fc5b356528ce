"""A page that opens from disk and needs nothing else, and its sections."""

from hermesflow_jax.reports import markup
from hermesflow_jax.reports import style


def html_page(title: str, *body: markup.Markup) -> str:
  """Returns a document as HTML."""
  head = markup.element(
    'head',
    markup.element('meta', charset='utf-8'),
    markup.element(
      'meta', name='viewport', content='width=device-width, initial-scale=1'
    ),
    markup.element(
      'meta',
      http_equiv='Content-Security-Policy',
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    ),
    markup.element('title', title),
    markup.element('style', markup.Markup(style.CSS)),
  )
  main = markup.element('main', markup.join(body))
  document = markup.element(
    'html', head, markup.element('body', main), lang='en'
  )
  return f'<!doctype html>\n{document}\n'


def section(title: str, text: str, *content: markup.Markup) -> markup.Markup:
  """Returns a section with its heading, and a paragraph if there is text."""
  said = [markup.element('p', text)] if text else []
  return markup.element(
    'section',
    markup.element('h2', title),
    markup.join(said),
    markup.join(content),
  )
