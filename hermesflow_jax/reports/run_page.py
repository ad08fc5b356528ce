"""A report about a run: a page that opens from disk."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import os

import numpy as np

from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import imported_judges
from hermesflow_jax.reports import number_text
from hermesflow_jax.reports import round_tables
from hermesflow_jax.reports import score_charts
from hermesflow_jax.reports import score_rows
from hermesflow_jax.reports import score_sentences
from hermesflow_jax.reports import score_tables
from hermesflow_jax.reports import training_charts
from hermesflow_jax.runtime import output_files


@dataclasses.dataclass(frozen=True)
class Sample:
  """A held-out caption with images.

  Attributes:
    caption: prompt for all images.
    real: uint8[H, W, 3], the real image; None if it is missing.
    before: uint8[H, W, 3], image by the base model.
    before_right: the judge's correct answers about it, such as '3/4'.
    after: uint8[H, W, 3], image by the last model.
    after_right: the judge's correct answers about it.
  """

  caption: str
  real: np.ndarray | None
  before: np.ndarray | None
  before_right: str
  after: np.ndarray | None
  after_right: str


@dataclasses.dataclass(frozen=True)
class PairSample:
  """A homologous input with its caption pair and its image pair.

  Attributes:
    id: input identifier.
    real: uint8[H, W, 3], the real image.
    caption: the true caption.
    caption_win, caption_lose: captions by the model.
    caption_score_win, caption_score_lose: similarity to the true caption.
    image_win, image_lose: uint8[H, W, 3], images by the model.
    vqa_score_win, vqa_score_lose: fraction of questions, in [0, 1], that the
      model answers correctly.
    answers_win, answers_lose: (question, model answer, expected answer).
    caption_dropped, image_dropped: reason why training leaves the pair out;
      '' if it is used for training.
    round: round in which the pairs were made; None hides it.
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
  """Report content; only title, command and rounds are required.

  Attributes:
    title: page title.
    command: command that started the run; '' hides it.
    rounds: rows of results.json; round 0 is the base model. A row may hold
      'change', the paired change since round 0 ({'gap': .., 'gap_se': ..}),
      and 'unseen', a row measured on captions that no input has.
    note: status above all scores; '' for none.
    control: more rows in this form, each with a 'name'.
    training: logged metrics by round, from the first, each with a 'step'.
    gallery: held-out captions with images.
    pairs: training examples.
    settings: nested config.
    judge: name of the judge, and its prompt, model, host and usage.
    imported: results of judges that saw the images after the run, from
      `imported_judges.read`.
    seeds: random seeds by name.
    versions: package versions by name.
    seconds: duration of the run.
    peak_memory: largest resident size in bytes.
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
  judge: Mapping = dataclasses.field(default_factory=dict)
  imported: Sequence[Mapping] = ()
  seeds: Mapping = dataclasses.field(default_factory=dict)
  versions: Mapping = dataclasses.field(default_factory=dict)
  seconds: float | None = None
  peak_memory: float | None = None


def write_page(path: str | os.PathLike, run: RunReport) -> None:
  """Writes the page as a whole or not at all."""
  output_files.write_atomically(path, render_page(run))


def render_page(run: RunReport) -> str:
  """Renders the page; equal runs give equal bytes.

  Raises:
    ValueError: an image is not uint8[H, W, 3].
  """
  rows = run.rounds
  unseen = score_rows.unseen_rows(rows)
  sentences = (
    score_sentences.explanation(rows),
    score_sentences.unseen_sentence(unseen),
    score_sentences.known_captions_sentence(rows),
    score_sentences.search_sentence(rows),
  )
  return html_page.render(
    'run.html',
    title=run.title,
    run=run,
    lead=score_sentences.lead_sentence(rows),
    sentences=[sentence for sentence in sentences if sentence],
    **(_scores(rows, run.control, run.imported) if rows else {}),
    unseen=_score_tables(unseen) if unseen else None,
    training_charts=training_charts.training_charts(run.training),
    drop_table=round_tables.drop_table(rows),
    group_table=round_tables.group_table(rows),
    agreement=round_tables.agreement(rows),
    details=_details(run),
  )


def _scores(rows, control, imported) -> dict:
  """Returns score tables and charts, as template variables."""
  return {
    **_score_tables(rows, control),
    'imported_judges': imported_judges.render(imported, rows[0].get('judge')),
    'round_charts': score_charts.round_charts(rows, control),
    'type_charts': score_charts.type_charts(rows),
    'task_table': score_tables.task_table(rows),
  }


def _score_tables(rows, control=()) -> dict:
  """Returns the tables that held-out and unseen captions both have."""
  return {
    'score_tiles': score_tables.score_tiles(rows),
    'score_table': score_tables.score_table(rows, control),
    'kind_table': score_tables.kind_table(rows),
  }


def _details(run) -> list[tuple[str, list[html_page.TableContent]]]:
  """Returns (title, tables) with everything that a repetition needs."""
  memory = number_text.to_float(run.peak_memory) / 1e9
  cost = [
    (name, value)
    for name, value in (
      ('seconds in all', number_text.decimal(run.seconds, 0)),
      ('peak memory, GB', number_text.decimal(memory, 2)),
    )
    if value != number_text.NOTHING
  ]

  def named_values(rows):
    return html_page.TableContent(['Name', 'Value'], rows, text_columns=2)

  details = []
  for title, *tables in (
    ('Settings', named_values(flatten_settings(run.settings))),
    ('Judge', named_values(flatten_settings(run.judge))),
    ('Seeds', named_values(flatten_settings(run.seeds))),
    ('Versions', named_values(flatten_settings(run.versions))),
    (
      'Time and memory',
      named_values(cost),
      round_tables.seconds_table(run.rounds),
    ),
  ):
    if filled := [table for table in tables if table.rows]:
      details.append((title, filled))
  return details


def flatten_settings(
  settings: Mapping, prefix: str = ''
) -> list[tuple[str, str]]:
  """Returns ('a.b', value) for each leaf in a nested mapping, in order."""
  leaves = []
  for key, value in settings.items():
    if isinstance(value, Mapping) and value:
      leaves += flatten_settings(value, f'{prefix}{key}.')
    else:
      leaves.append((f'{prefix}{key}', str(value)))
  return leaves
