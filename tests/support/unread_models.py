"""Reading a model is an error, for tests of finished runs."""

from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.sequences import text_tokenizer


def refuse_reading(monkeypatch) -> None:
  """Makes every job fail that reads weights or loads a text tokenizer.

  Both import slow libraries, and a finished run should say so at once.
  """

  def read(*args, **options):
    raise AssertionError('a finished run needs no model')

  monkeypatch.setattr(job_model, 'load_parts', read)
  monkeypatch.setattr(text_tokenizer, 'load', read)
