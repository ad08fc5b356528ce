"""Jobs that need no model: those whose run is finished."""

from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.sequences import text_tokenizer


def refuse_reading(monkeypatch) -> None:
  """Lets every job fail that reads weights or loads a text tokenizer.

  Both import slow libraries. A finished run says so within a second.
  """

  def read(*args, **options):
    raise AssertionError('a finished run needs no model')

  monkeypatch.setattr(job_model, 'load_parts', read)
  monkeypatch.setattr(text_tokenizer, 'load', read)
