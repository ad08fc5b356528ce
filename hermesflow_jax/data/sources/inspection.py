"""Facts about the records of a data set, without a stop at a fault."""

from collections.abc import Iterator
import dataclasses

from hermesflow_jax.data import image_reader
from hermesflow_jax.data import record_values
from hermesflow_jax.data.sources import example_checks
from hermesflow_jax.data.sources import rows

# Records that are read ahead.
_AHEAD = 64


@dataclasses.dataclass(frozen=True)
class Facts:
  """Facts about a record.

  Attributes:
    number: its position.
    place: where it stands, e.g. 'line 3'.
    faults: (kind, text) per fault.
    example: see `example_checks.Checker.check`; None for a record without an
      id.
    size: image (width, height) in pixels; None without a readable image.
    odd: names of odd characters, which are replaced.
    dropped: fault of each question that is left out alone.
    repeated: text of each question that the record has before.
  """

  number: int
  place: str
  faults: list[tuple[str, str]]
  example: dict | None
  size: tuple[int, int] | None
  odd: list[str]
  dropped: list[str] = dataclasses.field(default_factory=list)
  repeated: list[str] = dataclasses.field(default_factory=list)


def inspect_all(
  data: rows.Rows, checker: example_checks.Checker, decode: bool, threads: int
) -> Iterator[Facts]:
  """Yields facts about all records in order; threads read ahead.

  Args:
    data: records.
    checker: checks a record.
    decode: whether all pixels are read, otherwise image headers.
    threads: reading threads.
  """
  import grain

  source = grain.MapDataset.source(range(len(data))).map(
    lambda number: _inspect(data, checker, decode, int(number))
  )
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_AHEAD)
  yield from source.to_iter_dataset(options)


def _inspect(data, checker, decode, number) -> Facts:
  """Returns facts about a record."""
  place, faults, size = data.place(number), example_checks.Faults(), None
  value, odd = record_values.normalize(data.read(number))
  example = checker.check(value, faults)
  if example and example['path'] is not None:
    try:
      size = image_reader.image_size(example['path'], decode)
    except ValueError as error:
      faults.add('image', f'id {example["id"]!r}: {error}')
  return Facts(
    number,
    place,
    faults.items,
    example,
    size,
    odd,
    faults.dropped,
    faults.repeated,
  )
