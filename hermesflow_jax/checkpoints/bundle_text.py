"""The text tokenizer of a bundle, read without its weights."""

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows


def load_text(
  path: str,
) -> tuple[text_tokenizer.TextTokenizer, token_rows.Lengths, tuple[int, int]]:
  """Reads the text tokenizer, row lengths and grid of a bundle with a model.

  Args:
    path: bundle folder.

  Raises:
    ValueError: see `model_bundle.load_bundle`; the arrays are not checked.
  """
  sizes, sums = model_bundle.read_sizes(path)
  sums = {'text.json': sums['text.json']}
  with transfer.local_copy(storage.path(path), sums) as folder:
    model_bundle.check_sums(storage.path(path), folder, sums)
    text = text_tokenizer.load(str(folder / 'text.json'))
  return text, sizes.lengths, sizes.grid
