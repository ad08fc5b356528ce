"""Numbers that papers print, for tables beside our own.

They are not comparable across papers: prompts, parsers and resolutions differ,
and FID and the understanding of the Show-o row come from other variants of the
model. A fair comparison measures the base in the same run.
"""

_HERMESFLOW = 'HermesFlow, arXiv 2502.12148'
_NAMES = (
  'pope',
  'mme',
  'flickr30k',
  'vqav2',
  'gqa',
  'mmmu',
  'geneval',
  'dpg',
  'coco_fid',
  'coco_clip',
)
_ROWS = {
  'Show-o': (80.0, 1232.9, 67.6, 74.7, 61.0, 27.4, 0.53, 67.48, 9.24, 30.63),
  'DPO, understanding': (80.8, 1242.2, None, None, None, 27.8, 0.58, 67.88),
  'DPO, generation': (80.5, 1239.3, None, None, None, 27.5, 0.70, 70.03),
  'Pair-DPO, round 1': (81.1, 1246.7, None, None, None, 28.0, 0.68, 70.19),
  'Pair-DPO, round 2': (81.3, 1248.3, None, None, None, 28.1, 0.69, 70.21),
  'HermesFlow': (
    81.4,
    1249.7,
    69.2,
    75.3,
    61.7,
    28.3,
    0.69,
    70.22,
    9.07,
    31.08,
  ),
}
# The same models, measured by others.
_OTHERS = {
  'mme': (('Show-o 512', 1097.0, 'other papers, discrete model'),),
  'vqav2': (('Show-o 512', 69.4, 'other papers, discrete model'),),
  'gqa': (('Show-o 512', 58.0, 'other papers, discrete model'),),
  'geneval': (
    ('Show-o 512', 0.66, 'measured by others'),
    ('Show-o 512', 0.68, 'measured by others'),
    ('HermesFlow', 0.61, 'measured by others'),
  ),
  'dpg': (('Show-o 512', 82.21, 'RecA'),),
  'gap': (('Show-o', 0.087, _HERMESFLOW), ('HermesFlow', 0.036, _HERMESFLOW)),
}


def rows(name: str) -> list[tuple[str, float, str]]:
  """Returns (model, number, source) of each published number.

  Args:
    name: name of a benchmark; 'coco_fid' and 'coco_clip' for those of COCO.
  """
  own = []
  if name in _NAMES:
    place = _NAMES.index(name)
    own = [
      (model, numbers[place], _HERMESFLOW)
      for model, numbers in _ROWS.items()
      if len(numbers) > place and numbers[place] is not None
    ]
  return own + list(_OTHERS.get(name, ()))
