"""Reads compiled programs: what they send over the network.

The compiler's own sums take the body of a loop once. Here loops count as often
as they turn: up to the constant that their condition compares with.
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
  """One line of a program.

  Attributes:
    name: of its result.
    arrays: bytes of each array of the result.
    op: what it does.
    inside: its arguments, as text.
    rest: its attributes, as text.
  """

  name: str
  arrays: tuple[float, ...]
  op: str
  inside: str
  rest: str

  @property
  def operands(self) -> list[str]:
    """The names among its arguments."""
    return _NAME.findall(self.inside)


@dataclasses.dataclass(frozen=True)
class Traffic:
  """What a chip sends in one call of a program.

  Attributes:
    network: bytes by kind of collective.
    count: how often each kind of collective is called.
  """

  network: dict[str, float]
  count: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Collective:
  """A collective where it stands in a program.

  Attributes:
    kind: of it.
    channel: its number, which all that is written of one has; '' without one.
    size: bytes that a chip sends.
    times: how often it is called.
    fused: whether it is within a fused operation.
  """

  kind: str
  channel: str
  size: float
  times: int
  fused: bool


def network_traffic(text: str, devices: int, trips: int = 1) -> Traffic:
  """Returns what the text of a compiled program sends.

  Args:
    text: of the compiled program.
    devices: that it runs on.
    trips: of loops that end when the data say so.
  """
  program = _Program(text, devices, trips)
  found = {}
  for number, each in enumerate(program.collectives(program.entry)):
    # What goes on behind several operations is named in each of them, also in
    # those within loops that it goes on behind.
    # Parts of a program that were written apart may share a number.
    size = each.size if each.kind == 'all-reduce' else 0
    name = (each.channel or f'none/{number}', each.kind, size)
    if name not in found or each.times < found[name].times:
      found[name] = each
  network, count = collections.Counter(), collections.Counter()
  for each in found.values():
    network[each.kind] += each.size * each.times
    count[each.kind] += each.times
  return Traffic(dict(network), dict(count))


def parse_computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
  """Returns (instructions by computation, the name of the first)."""
  found, entry, here = {}, '', None
  for line in text.splitlines():
    opened = re.match(r'\s*(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$', line)
    if opened and ' = ' not in line.split('->')[0]:
      here = found.setdefault(opened[2], [])
      entry = opened[2] if opened[1] else entry
    elif line.strip().startswith('}'):
      here = None
    elif here is not None and (parsed := _instruction(line)):
      here.append(parsed)
  return found, entry


def _instruction(line: str) -> Instruction | None:
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
  """(the parenthesis that text begins with, what follows)."""
  depth = 0
  for place, letter in enumerate(text):
    depth += (letter == '(') - (letter == ')')
    if not depth:
      return text[: place + 1], text[place + 1 :]
  return text, ''


class _Program:
  def __init__(self, text, devices, trips):
    self.devices, self.trips = devices, trips
    self.computations, self.entry = parse_computations(text)
    self.sizes = {
      (name, line.name): sum(line.arrays)
      for name, lines in self.computations.items()
      for line in lines
    }

  @functools.cache
  def collectives(self, name, fused=False) -> list[Collective]:
    """The collectives of a computation.

    One that is fused, in a loop that the compiler made of a product, goes on
    behind all its turns, and counts once.
    """
    found = []
    for line in self.computations[name]:
      kind = line.op.removesuffix('-start')
      if kind in _COLLECTIVES:
        channel = re.search(r'channel_id=(\d+)', line.rest)
        found.append(
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
      times = self._turns(line) if line.op == 'while' else 1
      windowed = line.op == 'while' and 'windowed_dot_general' in line.rest
      for other in _called(line):
        if other not in self.computations:
          continue
        for each in self.collectives(other, fused or line.op == 'fusion'):
          turns = 1 if windowed and each.fused else times
          found.append(dataclasses.replace(each, times=turns * each.times))
    return found

  def _turns(self, line):
    """How often a loop turns: the compiler says, or it counts to a constant."""
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line.rest)
    if known:
      return int(known[1])
    condition = re.search(r'condition=%?([\w.\-]+)', line.rest)[1]
    lines = {each.name: each for each in self.computations[condition]}
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


def _called(line):
  """The computations that an instruction runs."""
  found = re.findall(
    r'(?:calls|body|to_apply|branch_computations|true_computation|'
    r'false_computation)=\{?((?:%?[\w.\-]+(?:, )?)+)\}?',
    line.rest,
  )
  # The sum of a reduction is no computation of its own.
  if line.op not in ('while', 'fusion', 'call', 'conditional', 'async-start'):
    return []
  return [n.strip().lstrip('%') for names in found for n in names.split(',')]


def _sent(kind, operands, size):
  """Bytes that each of `size` chips sends in one collective, on a ring."""
  if kind == 'collective-permute':
    return operands
  if kind == 'all-gather':
    return operands * (size - 1)
  times = 2 if kind == 'all-reduce' else 1
  return times * operands * (size - 1) / size


def _group(rest):
  """How many chips a collective joins; 0, which is all, if it says none."""
  _, is_said, said = rest.partition('replica_groups=')
  if not is_said or said.startswith('{}'):
    return 0
  # Three forms: [groups,size], {{chips},...}, mesh['a'=4,'b'=2] {'b'}; a part
  # of an axis is 'a':(before)size.
  if found := re.match(r'\[(\d+),(\d+)\]', said):
    return int(found[2])
  if found := re.match(r'\{\{([\d,]+)\}', said):
    return len(found[1].split(','))
  if found := re.match(r'mesh\[([^\]]*)\][^{]*\{([^}]*)\}', said):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
    joined = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])
    return math.prod(int(part or sizes[axis]) for axis, part in joined)
  raise ValueError(f'replica_groups of an unknown form: {said[:60]}')
