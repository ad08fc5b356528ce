"""Charts of training metrics over all rounds."""

from collections.abc import Sequence
import math

from hermesflow_jax.reports import charts
from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import number_text

_MODALITIES = (('und', 'understanding'), ('gen', 'generation'))


def join_rounds(
  training: Sequence[Sequence[dict]],
) -> tuple[list[dict], list[tuple[float, str]]]:
  """Joins all rounds to a single log whose steps increase.

  A round whose steps start again is moved behind the round before it.
  A row with only a step separates two rounds, so that no line joins them.

  Args:
    training: logged metrics by round, from the first, each with a 'step'.

  Returns:
    (rows, [(first step, 'round n')]), with n counted from 1.
  """
  rows, borders, end = [], [], 0.0
  for number, log in enumerate(training, start=1):
    steps = [number_text.to_float(row.get('step')) for row in log]
    finite = [step for step in steps if math.isfinite(step)]
    if not finite:
      continue
    shift = end if finite[0] <= end and rows else 0.0
    borders.append((end if rows else finite[0], f'round {number}'))
    if rows:
      rows.append({'step': end})
    for row, step in zip(log, steps, strict=True):
      if math.isfinite(step):
        rows.append({**row, 'step': step + shift})
    end = rows[-1]['step']
  return rows, borders


def training_charts(
  training: Sequence[Sequence[dict]],
) -> list[html_page.Figure]:
  """Charts loss, margins, accuracies and log-ratios over steps.

  Of training on groups it charts loss, rewards, log-ratios and clipped shares;
  of answers the likelihood of the right ones.

  Args:
    training: logged metrics by round, from the first, each with a 'step'.

  Returns:
    The charts; [] if no step was logged.
  """
  rows, borders = join_rounds(training)
  if not rows:
    return []

  def chart(title, metrics, caption, **options):
    series = [
      charts.Series(
        name, [(r['step'], r.get(key), None) for r in rows], style, dashed
      )
      for key, name, style, dashed in metrics
    ]
    drawing = charts.lines(
      series, description=title, x_label='step', borders=borders, **options
    )
    return html_page.Figure(title, drawing, caption)

  def both_modalities(metric):
    return [
      (f'{m}/{metric}', name, m, False)
      for m, name in _MODALITIES
      if any(f'{m}/{metric}' in row for row in rows)
    ]

  answers = []
  if any('answers/loss' in row for row in rows):
    answers = [
      chart(
        'Answers',
        [('answers/right_nll', 'right answers', 'und', False)],
        'Negative log-likelihood of right answers to the questions of the '
        'inputs, in nats per token.',
        zero=True,
      )
    ]

  if any('groups/loss' in row for row in rows):
    return [
      chart(
        'GRPO loss',
        [('groups/loss', 'total', 'plain', False), *both_modalities('loss')],
        'The weighted total, and the loss of each modality before its weight. '
        'A round starts at 0.',
        zero=True,
      ),
      chart(
        'Gain',
        both_modalities('gain'),
        'Log-ratio of a candidate times its advantage, in nats: above 0 the '
        'better candidates of a group gained likelihood.',
        zero=True,
      ),
      chart(
        'Clipped share',
        both_modalities('clipped'),
        'Share of the ratios that have reached the bound of the change of the '
        'policy and teach nothing more.',
        limits=(0.0, 1.0),
      ),
      chart(
        'Divergence',
        both_modalities('kl'),
        'Estimated divergence of a token from the model that starts the round, '
        'in nats.',
        zero=True,
      ),
      *answers,
    ]

  def both_sides(modality):
    return [
      (f'{modality}/win_log_ratio', 'winner', modality, False),
      (f'{modality}/lose_log_ratio', 'loser', 'plain', True),
    ]

  note = (
    'Log-probability under the trained model minus log-probability under '
    'the reference model, in nats. If both lines are below zero, the winner '
    'lost likelihood, too.'
  )
  return [
    chart(
      'Pair-DPO loss',
      [('pairs/loss', 'total', 'plain', False), *both_modalities('loss')],
      'The weighted total, and the loss of each modality before its weight. '
      'A loss of log 2 = 0.693 means that nothing was learned yet.',
    ),
    chart(
      'Reward accuracy',
      both_modalities('accuracy'),
      'Share of pairs in the batch whose winner gained more '
      'log-probability than its loser.',
      limits=(0.0, 1.0),
    ),
    chart(
      'Reward margin',
      both_modalities('margin'),
      'Log-ratio of the winner minus log-ratio of the loser, in nats, not '
      'multiplied by beta.',
      zero=True,
    ),
    chart('Log-ratios of captions', both_sides('und'), note, zero=True),
    chart('Log-ratios of images', both_sides('gen'), note, zero=True),
    *answers,
  ]
