"""Reads network traffic from the HLO text of compiled programs.

The compiler's own cost analysis counts loop bodies once. This module multiplies
them by the iterations, i.e. the constant that the loop condition compares with.
"""

import collections
import dataclasses
import functools
import math
import re

_BYTES = {
  'pred': 1,
  's4': 0.5,
  'u4': 0.5,
  's8': 1,
  'u8': 1,
  's16': 2,
  'u16': 2,
  'bf16': 2,
  'f16': 2,
  's32': 4,
  'u32': 4,
  'f32': 4,
  's64': 8,
  'u64': 8,
  'f64': 8,
  'c64': 8,
}
_ARRAY = re.compile(r'\b(' + '|'.join(_BYTES) + r')\[([\d,]*)\]')
_NAME = re.compile(r'%([\w.\-]+)')
_COLLECTIVES = (
  'all-gather',
  'all-reduce',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """An HLO instruction.

  Attributes:
    name: result name.
    arrays: bytes per array in the result.
    op: opcode, e.g. 'all-reduce'.
    inside: arguments as text.
    rest: attributes as text.
  """

  name: str
  arrays: tuple[float, ...]
  op: str
  inside: str
  rest: str

  @property
  def operands(self) -> list[str]:
    """The argument names."""
    return _NAME.findall(self.inside)


@dataclasses.dataclass(frozen=True)
class Traffic:
  """The traffic that a chip sends in a program call.

  Attributes:
    network: bytes by collective kind.
    count: number of calls by collective kind.
  """

  network: dict[str, float]
  count: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Collective:
  """A collective operation in a program.

  Attributes:
    kind: opcode, e.g. 'all-gather'.
    channel: channel id as text, which all parts share; '' for
      none.
    size: bytes that a chip sends in a call.
    times: number of calls.
    fused: whether a fused operation contains it.
  """

  kind: str
  channel: str
  size: float
  times: int
  fused: bool


def network_traffic(text: str, devices: int, trips: int = 1) -> Traffic:
  """Reads the network traffic from a compiled program.

  Args:
    text: HLO text.
    devices: number of devices.
    trips: iterations of loops whose condition depends on data.
  """
  program = _Program(text, devices, trips)
  unique = {}
  for number, collective in enumerate(program.collectives(program.entry)):
    # A collective that overlaps several operations appears in each of them,
    # also within loops; the smallest number of calls is the real number.
    # Separate all-reduces may share a channel, so their sizes tell them apart.
    size = collective.size if collective.kind == 'all-reduce' else 0
    key = (collective.channel or f'none/{number}', collective.kind, size)
    if key not in unique or collective.times < unique[key].times:
      unique[key] = collective
  network, count = collections.Counter(), collections.Counter()
  for collective in unique.values():
    network[collective.kind] += collective.size * collective.times
    count[collective.kind] += collective.times
  return Traffic(dict(network), dict(count))


def parse_computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
  """Returns (instructions by computation, name of the entry computation)."""
  computations, entry, current = {}, '', None
  for line in text.splitlines():
    opened = re.match(r'\s*(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$', line)
    if opened and ' = ' not in line.split('->')[0]:
      current = computations.setdefault(opened[2], [])
      entry = opened[2] if opened[1] else entry
    elif line.strip().startswith('}'):
      current = None
    elif current is not None and (parsed := _instruction(line)):
      current.append(parsed)
  return computations, entry


def _instruction(line: str) -> Instruction | None:
  """Parses an instruction; returns None for other lines."""
  head = re.match(r'\s*(?:ROOT )?%?([\w.\-]+) = ', line)
  if not head:
    return None
  rest = line[head.end() :]
  kind, rest = _balanced(rest) if rest[0] == '(' else rest.split(' ', 1)
  called = re.match(r'\s*([\w\-]+)(?=\()', rest)
  if not called:
    return None
  inside, rest = _balanced(rest[called.end() :])
  arrays = tuple(
    _BYTES[name] * math.prod(int(n) for n in sides.split(',') if n)
    for name, sides in _ARRAY.findall(kind)
  )
  return Instruction(head[1], arrays, called[1], inside.strip('()'), rest)


def _balanced(text: str) -> tuple[str, str]:
  """Splits text after the parenthesis that it begins with."""
  depth = 0
  for place, letter in enumerate(text):
    depth += (letter == '(') - (letter == ')')
    if not depth:
      return text[: place + 1], text[place + 1 :]
  return text, ''


class _Program:
  """The computations in a compiled program."""

  def __init__(self, text, devices, trips):
    self.devices, self.trips = devices, trips
    self.collectives = functools.cache(self._collectives)
    self.computations, self.entry = parse_computations(text)
    self.sizes = {
      (name, line.name): sum(line.arrays)
      for name, lines in self.computations.items()
      for line in lines
    }

  def _collectives(self, name, fused=False) -> list[Collective]:
    """Lists the collectives in a computation.

    A fused collective in a loop that the compiler generated from a matrix
    product overlaps all iterations, and counts once.
    """
    result = []
    for line in self.computations[name]:
      kind = line.op.removesuffix('-start')
      if kind in _COLLECTIVES:
        channel = re.search(r'channel_id=(\d+)', line.rest)
        result.append(
          Collective(
            kind,
            channel[1] if channel else '',
            _sent(
              kind,
              self._operands(name, line),
              _group(line.rest) or self.devices,
            ),
            1,
            fused,
          )
        )
      times = self._iterations(line) if line.op == 'while' else 1
      windowed = line.op == 'while' and 'windowed_dot_general' in line.rest
      for other in _called(line):
        if other not in self.computations:
          continue
        for inner in self.collectives(other, fused or line.op == 'fusion'):
          factor = 1 if windowed and inner.fused else times
          result.append(dataclasses.replace(inner, times=factor * inner.times))
    return result

  def _iterations(self, line) -> int:
    """Returns a loop's known trip count, or its counter bound."""
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line.rest)
    if known:
      return int(known[1])
    condition = re.search(r'condition=%?([\w.\-]+)', line.rest)[1]
    lines = {inner.name: inner for inner in self.computations[condition]}
    last = self.computations[condition][-1]
    bounds = [
      int(lines[name].inside)
      for name in last.operands
      if name in lines and lines[name].op == 'constant'
    ]
    counts = last.op == 'compare' and 'direction=LT' in last.rest
    return bounds[0] if counts and bounds else self.trips

  def _operands(self, name, line):
    return sum(self.sizes.get((name, o), 0.0) for o in line.operands)


def _called(line: Instruction) -> list[str]:
  """Returns the computations that an instruction calls."""
  lists = re.findall(
    r'(?:calls|body|to_apply|branch_computations|true_computation|'
    r'false_computation)=\{?((?:%?[\w.\-]+(?:, )?)+)\}?',
    line.rest,
  )
  # The scalar function of a reduction holds no collective.
  if line.op not in ('while', 'fusion', 'call', 'conditional', 'async-start'):
    return []
  return [n.strip().lstrip('%') for names in lists for n in names.split(',')]


def _sent(kind: str, operands: float, size: int) -> float:
  """Returns the bytes that a chip in a ring with `size` chips sends."""
  if kind == 'collective-permute':
    return operands
  if kind == 'all-gather':
    return operands * (size - 1)
  times = 2 if kind == 'all-reduce' else 1
  return times * operands * (size - 1) / size


def _group(rest: str) -> int:
  """Returns how many chips a collective joins; 0 means all chips."""
  _, present, groups = rest.partition('replica_groups=')
  if not present or groups.startswith('{}'):
    return 0
  # Three forms: [groups,size], {{chips},...}, mesh['a'=4,'b'=2] {'b'}; a part
  # of an axis is 'a':(before)size.
  if match := re.match(r'\[(\d+),(\d+)\]', groups):
    return int(match[2])
  if match := re.match(r'\{\{([\d,]+)\}', groups):
    return len(match[1].split(','))
  if match := re.match(r'mesh\[([^\]]*)\][^{]*\{([^}]*)\}', groups):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
    joined = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", match[2])
    return math.prod(int(part or sizes[axis]) for axis, part in joined)
  raise ValueError(f'replica_groups of an unknown form: {groups[:60]}')
