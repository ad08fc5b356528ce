"""Sections of the report that show images and captions."""

from collections.abc import Sequence

from hermesflow_jax.reports import markup

_EMPTY = markup.element('p', 'None were kept for show.', class_='empty')


def _shown(pixels, text, name, value=''):
  """An image with a line under it."""
  under = [markup.element('span', name)]
  if value:
    under.append(markup.element('b', value))
  return markup.element(
    'div',
    markup.picture(pixels, text),
    markup.element('div', markup.join(under), class_='under'),
  )


def sample_cards(samples: Sequence) -> markup.Markup:
  """Returns a card for each `run_page.Sample`."""
  if not len(samples):
    return _EMPTY
  cards = []
  for one in samples:
    images = markup.join(
      [
        _shown(one.real, f'real image of: {one.caption}', 'real'),
        _shown(
          one.before,
          f'base model’s image of: {one.caption}',
          'before',
          one.before_right,
        ),
        _shown(
          one.after,
          f'last model’s image of: {one.caption}',
          'after',
          one.after_right,
        ),
      ]
    )
    cards.append(
      markup.element(
        'article',
        markup.element('h3', one.caption),
        markup.element('div', images, class_='images'),
        class_='card',
      )
    )
  return markup.element('div', markup.join(cards), class_='cards gallery')


def _answers(answers):
  """The model's answers about an image, right or wrong."""
  items = []
  for question, answer, wanted in answers:
    right = answer == wanted
    said = [markup.element('b', '✓' if right else '✗')]
    said += [markup.element('span', f'{question} '), answer or markup.NOTHING]
    if not right:
      said.append(markup.element('span', f' (wanted {wanted})'))
    items.append(
      markup.element(
        'li', markup.join(said), class_='right' if right else 'wrong'
      )
    )
  return markup.element('ul', markup.join(items), class_='answers')


def _half(title, dropped, win, lose):
  """Winner and loser of one modality, side by side."""
  state = []
  if dropped:
    state.append(
      markup.element('span', f' – not trained on: {dropped}', class_='dropped')
    )
  sides = markup.join(markup.element('div', side) for side in (win, lose))
  return markup.element(
    'div',
    markup.element('h4', title, markup.join(state)),
    markup.element('div', sides, class_='sides'),
    class_='half',
  )


def _score(name, style, score):
  return markup.element(
    'div',
    markup.element('span', name, class_=style),
    markup.element('b', markup.decimal(score, 2)),
    class_='under',
  )


def pair_cards(samples: Sequence) -> markup.Markup:
  """Returns a card for each `run_page.PairSample`."""
  if not len(samples):
    return _EMPTY
  cards = []
  for one in samples:
    where = one.id if one.round is None else f'{one.id}, round {one.round}'
    source = markup.element(
      'div',
      markup.picture(one.real, f'real image of: {one.caption}'),
      markup.element(
        'div',
        markup.element('p', where, class_='tag'),
        markup.element('h3', one.caption),
      ),
      class_='source',
    )
    captions = [
      markup.join([_score(name, style, score), markup.element('p', text)])
      for name, style, score, text in (
        ('winner', 'win', one.caption_score_win, one.caption_win),
        ('loser', 'lose', one.caption_score_lose, one.caption_lose),
      )
    ]
    images = [
      markup.join(
        [
          markup.picture(pixels, f'{name} image of: {one.caption}'),
          _score(name, style, score),
          _answers(answers),
        ]
      )
      for name, style, score, pixels, answers in (
        ('winner', 'win', one.vqa_score_win, one.image_win, one.answers_win),
        ('loser', 'lose', one.vqa_score_lose, one.image_lose, one.answers_lose),
      )
    ]
    cards.append(
      markup.element(
        'article',
        source,
        _half('Captions of the image', one.caption_dropped, *captions),
        _half('Images of the caption', one.image_dropped, *images),
        class_='card',
      )
    )
  return markup.element('div', markup.join(cards), class_='cards')
