"""A table as Markdown or HTML."""

from collections.abc import Sequence
import dataclasses

from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import markup


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells of text under a title; the first column names the rows."""

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

  def section(self, *more: markup.Markup) -> markup.Markup:
    """Returns a section of a page, with what comes after the table."""
    return html_page.section(
      self.title, self.note, markup.table(self.header, self.rows), *more
    )
