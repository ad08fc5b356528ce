"""Division of test files among workers, so that few programs are traced twice.

A worker traces and loads each program that its tests run, which takes longer
than most tests. Folders whose tests run the same models belong to one worker.
"""

import pathlib

from xdist import scheduler

# Half of the workers take folders from the first on: the small Show-o, then
# models of samplers. The other half takes them from the last on: the tiny
# model of the embedded world, then small parts.
FOLDERS = (
  'whole_runs',
  'sampling',
  'scoring',
  'serving',
  'training',
  'performance',
  'tests',
  # All other folders: the halves meet among tests without a model.
  '',
  'models',
  'pair_dpo',
  'conversions',
  'curation',
  'experiments',
  'checkpoints',
  'jobs',
  'self_play',
)
_MEETING = FOLDERS.index('')


def sort_key(path: pathlib.Path, seconds: float) -> tuple[int, float, str]:
  """Returns the sort key of a test file: its folder, then its duration.

  From either end, the longest file of a folder comes first.

  Args:
    path: the file.
    seconds: duration of the file in an earlier run.
  """
  name = path.parent.name
  folder = FOLDERS.index(name) if name in FOLDERS else _MEETING
  return folder, -seconds if folder <= _MEETING else seconds, str(path)


class FromBothEnds(scheduler.LoadFileScheduling):
  """Gives every second worker files from the end of the list."""

  def _assign_work_unit(self, node):
    if int(node.gateway.id.removeprefix('gw')) % 2:
      last = next(reversed(self.workqueue))
      self.workqueue.move_to_end(last, last=False)
    super()._assign_work_unit(node)
