"""Writes the small Show-o: `python tests/small_show_o.py small`."""

import pathlib
import runpy
import sys

if __name__ == '__main__':
  folder = pathlib.Path(__file__).parent / 'support'
  sys.path.insert(0, str(folder))
  runpy.run_path(str(folder / 'small_show_o.py'), run_name='__main__')
