"""Formats numbers for a page; a missing number becomes a dash."""

import math

import markupsafe

NOTHING = '–'


def to_float(value) -> float:
  """Returns the value as a float; NaN for anything that is not a number."""
  try:
    return float(value)
  except (TypeError, ValueError):
    return math.nan


def decimal(value, digits: int = 3, signed: bool = False) -> str:
  """Returns a number with `digits` decimals; a dash if it is not finite."""
  value = to_float(value)
  if not math.isfinite(value):
    return NOTHING
  text = f'{value:+.{digits}f}' if signed else f'{value:.{digits}f}'
  if not text.strip('+-0.'):
    text = text.lstrip('+-')
  return text.replace('-', '−')


def whole(value) -> str:
  """Returns a count with narrow spaces between thousands."""
  value = to_float(value)
  if not math.isfinite(value):
    return NOTHING
  return f'{value:,.0f}'.replace(',', '\u202f').replace('-', '−')


def percent(value) -> str:
  """Returns a share in [0, 1] as a whole percentage."""
  value = to_float(value)
  return f'{value:.0%}' if math.isfinite(value) else NOTHING


def with_error(value, error, signed: bool = False) -> markupsafe.Markup:
  """Returns a number and its standard error, in smaller type, as HTML."""
  text = decimal(value, signed=signed)
  if text == NOTHING or not math.isfinite(to_float(error)):
    return markupsafe.escape(text)
  return markupsafe.Markup('{}<span class="error"> ± {}</span>').format(
    text, decimal(error)
  )
