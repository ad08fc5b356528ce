"""The report of a run: one page that opens from disk and needs nothing else."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import os

import numpy as np

from hermesflow_jax.reports import example_sections
from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import markup
from hermesflow_jax.reports import score_sections
from hermesflow_jax.reports import training_sections
from hermesflow_jax.runtime import output_files


@dataclasses.dataclass(frozen=True)
class Sample:
  """A held-out caption with images.

  Attributes:
    caption: what was to be drawn.
    real: uint8[H, W, 3], the real image; None if there is none.
    before, after: uint8[H, W, 3], by the base and by the last model.
    before_right, after_right: right answers of the judge, such as '3/4'.
  """

  caption: str
  real: np.ndarray | None
  before: np.ndarray | None
  before_right: str
  after: np.ndarray | None
  after_right: str


@dataclasses.dataclass(frozen=True)
class PairSample:
  """One homologous input with the pairs made of it.

  Attributes:
    id: of the input.
    real: uint8[H, W, 3], the real image.
    caption: the true caption.
    caption_win, caption_lose: captions by the model.
    caption_score_win, caption_score_lose: their similarity to the true one.
    image_win, image_lose: uint8[H, W, 3], images by the model.
    vqa_score_win, vqa_score_lose: shares of right answers of the model.
    answers_win, answers_lose: (question, answer of the model, wanted answer).
    caption_dropped, image_dropped: why it is not trained on; '' if it is.
    round: in which the pairs were made.
  """

  id: str
  real: np.ndarray | None
  caption: str
  caption_win: str
  caption_score_win: float
  caption_lose: str
  caption_score_lose: float
  image_win: np.ndarray | None
  vqa_score_win: float
  answers_win: Sequence[tuple[str, str, str]]
  image_lose: np.ndarray | None
  vqa_score_lose: float
  answers_lose: Sequence[tuple[str, str, str]]
  caption_dropped: str = ''
  image_dropped: str = ''
  round: int | None = None


@dataclasses.dataclass(frozen=True)
class RunReport:
  """What a report shows; only title, command and rounds are needed.

  Attributes:
    title: of the page.
    command: the command that started this run; '' where there was none.
    rounds: rows of results.json; round 0 is the base model. A row may hold
      'change', the paired change since round 0 ({'gap': .., 'gap_se': ..}),
      and 'unseen', a row of the scores on captions that no input has.
    note: status shown at the top, '' for none.
    control: more rows of the same form, each with a 'name'.
    training: logged metrics of each round from the first, each with a 'step'.
    gallery: held-out captions with images.
    pairs: examples of the training data.
    settings: nested config.
    seeds, versions: by name.
    seconds: of the whole run.
    peak_memory: bytes, the largest resident size.
  """

  title: str
  command: str
  rounds: Sequence[dict]
  note: str = ''
  control: Sequence[dict] = ()
  training: Sequence[Sequence[dict]] = ()
  gallery: Sequence[Sample] = ()
  pairs: Sequence[PairSample] = ()
  settings: Mapping = dataclasses.field(default_factory=dict)
  seeds: Mapping = dataclasses.field(default_factory=dict)
  versions: Mapping = dataclasses.field(default_factory=dict)
  seconds: float | None = None
  peak_memory: float | None = None


def write_page(path: str | os.PathLike, run: RunReport) -> None:
  """Writes the page; it appears whole or not at all."""
  output_files.write_atomically(path, render_page(run))


def render_page(run: RunReport) -> str:
  """Returns the page as HTML, a pure function of the run."""
  body = [_head(run)]
  if run.rounds:
    body += _scores(run)
  body += [
    html_page.section(
      'Training',
      'Means over the logged steps; dotted lines are where a round starts.',
      training_sections.training_curves(run.training),
    ),
    html_page.section(
      'Held-out captions, before and after',
      'One image per caption and model, none picked among several. Under '
      'each: questions that the judge answered right.',
      example_sections.sample_cards(run.gallery),
    ),
    html_page.section(
      'Homologous pairs',
      'From one input the model wrote captions of the image and drew '
      'images of the caption; the best and the worst of each make the '
      'pair. Captions are scored by similarity to the true caption, '
      'images by the model’s own answers.',
      example_sections.pair_cards(run.pairs),
    ),
    html_page.section(
      'What was dropped, and why',
      'Inputs whose pair cannot teach are dropped for the round, captions '
      'and images apart.',
      training_sections.drop_table(run.rounds),
    ),
    html_page.section(
      'The model’s scores and the judge',
      'For people only; never used for training. The correlation is '
      'between the model’s own score of an image and the judge’s, among '
      'images of one caption; the shares are of the chosen winners and '
      'losers, by the judge.',
      training_sections.agreement_table(run.rounds),
    ),
    _settings(run),
  ]
  return html_page.html_page(run.title, *body)


def _head(run):
  """Title, the result in words and in numbers, the command."""
  parts = [
    markup.element('h1', run.title),
    markup.element(
      'p', score_sections.lead_sentence(run.rounds), class_='lead'
    ),
  ]
  if why := score_sections.explanation(run.rounds):
    parts.append(markup.element('p', why))
  unseen = score_sections.unseen_rows(run.rounds)
  for text in (
    score_sections.unseen_sentence(unseen),
    score_sections.known_captions_sentence(run.rounds),
  ):
    if text:
      parts.append(markup.element('p', text))
  if run.note:
    parts.append(markup.element('p', run.note, class_='note', role='status'))
  parts += [
    score_sections.score_tiles(run.rounds),
    *_on_unseen(unseen, score_sections.score_tiles(unseen)),
  ]
  if run.command:
    parts.append(markup.element('pre', markup.element('code', run.command)))
  return markup.element('header', markup.join(parts))


def _on_unseen(unseen, content):
  """Content about captions that no input has, under its own heading."""
  if not unseen:
    return []
  return [markup.element('h3', 'Captions that no input has'), content]


def _scores(run):
  """Sections about the scores of the rounds."""
  unseen = score_sections.unseen_rows(run.rounds)
  out = [
    html_page.section(
      'Round by round',
      '',
      score_sections.score_table(run.rounds, run.control),
      *_on_unseen(unseen, score_sections.score_table(unseen, ())),
      score_sections.round_plots(run.rounds, run.control),
    ),
    html_page.section(
      'By element type', '', score_sections.type_bars(run.rounds)
    ),
    html_page.section(
      'Six tasks in the manner of GenEval',
      'Share of generated images with every question right, by the judge.',
      score_sections.geneval_bars(run.rounds),
    ),
  ]
  if tags := score_sections.tag_table(run.rounds):
    out.append(
      html_page.section(
        'By kind of caption',
        'Captions of simple kinds are few, so inputs have nearly all of them: '
        'captions that no input has are of other kinds than the held-out ones. '
        'So the two sets are to be compared kind by kind, not by their means.',
        tags,
        *(
          _on_unseen(unseen, score_sections.tag_table(unseen)) if unseen else []
        ),
      )
    )
  return out


def flatten_settings(
  settings: Mapping, prefix: str = ''
) -> list[tuple[str, str]]:
  """Returns ('a.b', value) of each leaf of a nested mapping, in order."""
  out = []
  for key, value in settings.items():
    if isinstance(value, Mapping) and value:
      out += flatten_settings(value, f'{prefix}{key}.')
    else:
      out.append((f'{prefix}{key}', str(value)))
  return out


def _settings(run):
  """What is needed to run it again, folded away."""
  cost = [
    (name, value)
    for name, value in (
      ('seconds in all', markup.decimal(run.seconds, 0)),
      (
        'peak memory, GB',
        markup.decimal(markup.number(run.peak_memory) / 1e9, 2),
      ),
    )
    if value != markup.NOTHING
  ]
  folded = []
  for title, rows, more in (
    ('Settings', flatten_settings(run.settings), ''),
    ('Seeds', flatten_settings(run.seeds), ''),
    ('Versions', flatten_settings(run.versions), ''),
    ('Time and memory', cost, training_sections.seconds_table(run.rounds)),
  ):
    if rows or more:
      content = [markup.table(['Name', 'Value'], rows, 2)] if rows else []
      folded.append(
        markup.element(
          'details',
          markup.element('summary', title),
          markup.join(content),
          more,
        )
      )
  if not folded:
    return markup.Markup('')
  return html_page.section('Settings and seeds', '', *folded)
