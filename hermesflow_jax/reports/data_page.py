"""A page about a data set, from the data job's summary."""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from hermesflow_jax.reports import bar_charts
from hermesflow_jax.reports import html_page

# Bins of the chart of caption lengths.
_BINS = 12


def render_page(
  summary: Mapping, samples: Sequence[tuple[np.ndarray, str, str]], command: str
) -> str:
  """Returns the page as HTML.

  Args:
    summary: see `summary.Summary.to_json_types`, with `name` and `form`.
    samples: (uint8[H, W, 3], id, caption) of some examples.
    command: command that started the job; '' for none.
  """
  return html_page.render(
    'data.html',
    title=f'Data: {summary["name"]}',
    lead=lead_sentence(summary),
    notes=notes(summary),
    command=command,
    counts=html_page.TableContent(['Count', ''], count_rows(summary)),
    faults=[
      (kind, fault['count'], fault['first'])
      for kind, fault in summary['faults'].items()
    ],
    lengths=_spread_table(
      {
        'Caption, tokens': summary['captions']['tokens'],
        'Image width, pixels': summary['images']['width'],
        'Image height, pixels': summary['images']['height'],
      }
    ),
    length_chart=_length_chart(summary['captions']),
    sizes=html_page.TableContent(
      ['Width x height', 'Images'],
      [
        (f'{width} x {height}', count)
        for width, height, count in summary['images']['most_frequent']
      ],
    ),
    types=html_page.TableContent(
      ['Element type', 'Questions'], list(summary['questions']['types'].items())
    ),
    samples=samples,
  )


def lead_sentence(summary: Mapping) -> str:
  """Returns how many records can be used."""
  return (
    f'{summary["examples"]:,} of {summary["records"]:,} records of '
    f'{summary["name"]} (form: {summary["form"]}) can be used.'
  )


def notes(summary: Mapping) -> list[str]:
  """Returns a sentence for each property that a user should know."""
  captions, images = summary['captions'], summary['images']
  questions = summary['questions']['examples']
  texts = []
  if summary['faulty']:
    texts.append(
      f'{summary["faulty"]:,} records have faults. A job ends with them, or '
      'leaves them out with on_error=skip.'
    )
  if summary['questions'].get('left_out'):
    texts.append(
      f'{summary["questions"]["left_out"]:,} questions have faults and are '
      'left out, while their records stay. curate and pair_dpo do the same '
      'with --config.files.on_error=skip (of pair_dpo '
      '--config.files.inputs.on_error=skip); without it they end at these '
      'questions.'
    )
  if summary.get('text_files_without_image'):
    texts.append(
      'Text files without an image of their name, which are no records: '
      f'{", ".join(summary["text_files_without_image"])}.'
    )
  if captions['cut']:
    texts.append(
      f'{captions["cut"]:,} captions have more than {captions["longest"]} '
      'tokens: the model reads only their beginning.'
    )
  if captions['unknown_words']:
    texts.append(
      'Words that the tokenizer does not know: '
      f'{", ".join(captions["unknown_words"])}.'
    )
  if equal := summary['questions'].get('equal_choices', {}).get('count'):
    first = summary['questions']['equal_choices']['first'][0]
    texts.append(
      f'{equal:,} questions have choices that are equal to this tokenizer: '
      f'pair_dpo and curate refuse them with such a model; e.g. {first}.'
    )
  if images['smaller']:
    texts.append(
      f'{images["smaller"]:,} images have a side of less than '
      f'{images["smaller_than"]} pixels, and are enlarged.'
    )
  if summary['odd_characters']:
    texts.append(
      'Odd characters are replaced: ' + ', '.join(summary['odd_characters'])
    )
  if not questions:
    texts.append(
      'No record has questions: pair_dpo and curate need a file of questions.'
    )
  elif questions < summary['examples']:
    texts.append(
      f'{summary["examples"] - questions:,} records without faults have no '
      'questions: pair_dpo and curate refuse or skip them.'
    )
  return texts


def count_rows(summary: Mapping) -> list[tuple[str, int]]:
  """Returns (name, count) of the counts that a data set has."""
  rows = {
    'Records': summary['records'],
    'Without faults': summary['examples'],
    'With faults': summary['faulty'],
    'Images': summary['images']['count'],
    'Records of text alone': summary['text_only'],
    'Captions that are cut': summary['captions']['cut'],
    'Records with questions': summary['questions']['examples'],
    'Questions': summary['questions']['count'],
    'Captions whose image is missing': summary['captions_without_image'],
    'Questions that are left out': summary['questions'].get('left_out', 0),
    'Ids of questions without a record': summary['questions'][
      'ids_without_record'
    ],
    'Conversations': summary['conversations']['examples'],
    'Questions and replies in conversations': summary['conversations']['turns'],
  }
  always = ('Records', 'Without faults', 'With faults')
  return [
    (name, count) for name, count in rows.items() if count or name in always
  ]


def _spread_table(spreads) -> html_page.TableContent:
  names = ('least', 'median', 'percentile_95', 'most')
  return html_page.TableContent(
    ['', 'Smallest', 'Median', '95th percentile', 'Largest'],
    [
      (name, *(spread[key] for key in names))
      for name, spread in spreads.items()
      if spread
    ],
  )


def _length_chart(captions) -> html_page.Figure:
  """Returns the shares of caption lengths."""
  counts = captions['counts']
  total = sum(count for _, count in counts)
  chart = None
  if total:
    least, most = counts[0][0], counts[-1][0]
    width = max(1, -(-(most + 1 - least) // _BINS))
    groups = []
    for low in range(least, most + 1, width):
      share = sum(n for length, n in counts if low <= length < low + width)
      high = low + width - 1
      name = f'{low}' if low == high else f'{low} to {high}'
      groups.append((f'{name} tokens', [share / total]))
    chart = bar_charts.bars(
      groups,
      [('share of captions', 'und')],
      description='Shares of caption lengths',
    )
  return html_page.Figure(
    'Share of captions by length',
    chart,
    f'A row holds {captions["longest"]} tokens of a caption.',
    'bars',
  )
