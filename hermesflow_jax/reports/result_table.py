"""A titled table that is written as Markdown or shown on a page."""

from collections.abc import Sequence
import dataclasses


@dataclasses.dataclass(frozen=True)
class Table:
  """Text cells under a title.

  Attributes:
    title: heading.
    note: sentences between heading and table.
    header: column names.
    rows: cells, as many a row as the header has; the first names the row.
  """

  title: str
  note: str
  header: Sequence[str]
  rows: Sequence[Sequence[str]]

  def markdown(self) -> str:
    """Returns a heading, the note and the table."""

    def line(cells):
      return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'

    lines = [line(self.header), line(['---'] * len(self.header))]
    lines += [line(row) for row in self.rows]
    return f'## {self.title}\n\n{self.note}\n\n' + '\n'.join(lines) + '\n'
