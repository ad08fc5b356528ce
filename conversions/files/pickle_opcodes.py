"""Checks the opcodes of a pickle before an unpickler runs them.

The unpickler of CPython trusts its input: it allocates as many memos as a
pickle asks for, and the hash of a tuple within 100,000 tuples overflows the
stack of the process.
"""

from collections.abc import Set
import pickletools

# The opcodes that `torch.save` writes for a state dict; others are refused.
TENSORS = frozenset(
  (
    *('PROTO', 'STOP', 'GLOBAL', 'REDUCE', 'BUILD', 'BINPERSID', 'MARK'),
    *('NONE', 'NEWTRUE', 'NEWFALSE', 'BININT', 'BININT1', 'BININT2', 'LONG1'),
    *('BINFLOAT', 'BINUNICODE', 'EMPTY_TUPLE', 'TUPLE', 'TUPLE1', 'TUPLE2'),
    *('TUPLE3', 'EMPTY_LIST', 'APPEND', 'APPENDS', 'EMPTY_DICT', 'SETITEM'),
    *('SETITEMS', 'BINPUT', 'LONG_BINPUT', 'BINGET', 'LONG_BINGET'),
    # Settings that training programs save beside the weights.
    'NEWOBJ',
  )
)
# The opcodes of newer pickles, which PyTorch writes for a list of tensors and
# their places.
RECORDS = TENSORS | {'FRAME', 'MEMOIZE', 'STACK_GLOBAL', 'SHORT_BINUNICODE'}
MOST_MEMOS = 1_000_000
# Dictionaries, lists, tuples and calls within each other.
MOST_LEVELS = 100
# Opcodes that add the items above an object on the stack to that object.
ADDING = ('APPEND', 'APPENDS', 'SETITEM', 'SETITEMS', 'BUILD')


def check(data: bytes, allowed: Set[str], way_on: str) -> None:
  """Checks all opcodes of a pickle.

  Args:
    data: pickle.
    allowed: names of opcodes.
    way_on: text that says what to do about another opcode.

  Raises:
    ValueError: an opcode is not allowed, a memo has a high number, or objects
      lie too deep within each other. One-line message.
  """
  levels = _Levels()
  for opcode, argument, _ in pickletools.genops(data):
    if opcode.name not in allowed:
      raise ValueError(
        f'its pickle has {opcode.name}, which tensors do not need: {way_on}'
      )
    # The unpickler allocates memos up to the highest index.
    if opcode.name.endswith('BINPUT') and argument > MOST_MEMOS:
      raise ValueError(f'its pickle has {argument} memos, at most {MOST_MEMOS}')
    if levels.after(opcode, argument) > MOST_LEVELS:
      raise ValueError(
        f'its pickle has more than {MOST_LEVELS} objects within each other: '
        f'{way_on}'
      )


class _Levels:
  """Counts how deep objects lie within each other, opcode by opcode.

  The stack and the memos hold levels in place of objects: 0 for a number or an
  empty tuple, 1 for a tuple of numbers. A memo keeps the level that a list had
  when it was noted; tuples, the objects with a recursive hash, never grow.
  """

  def __init__(self):
    self._stack, self._memos = [], {}

  def after(self, opcode, argument) -> int:
    """Returns the level of the object on top of the stack, 0 without any.

    Args:
      opcode: pickletools.OpcodeInfo.
      argument: argument of the opcode.

    Raises:
      ValueError: the pickle takes objects from an empty stack.
    """
    stack, name = self._stack, opcode.name
    if name.endswith('BINPUT') or name == 'MEMOIZE':
      index = len(self._memos) if argument is None else argument
      self._memos[index] = self._top()
    elif name.endswith('BINGET'):
      stack.append(self._memos.get(argument, 0))
    elif name == 'MARK':
      stack.append(None)
    else:
      items = self._popped(opcode.stack_before)
      if name in ADDING:
        stack.append(max([items[0], *(1 + level for level in items[1:])]))
      elif opcode.stack_after:
        stack.append(1 + max(items) if items else 0)
    return self._top() if stack and stack[-1] is not None else 0

  def _top(self) -> int:
    if not self._stack or self._stack[-1] is None:
      raise ValueError('its pickle is damaged')
    return self._stack[-1]

  def _popped(self, before) -> list[int]:
    """Removes the objects that an opcode takes; returns their levels."""
    items, fixed = [], len(before)
    if pickletools.stackslice in before:
      while self._stack and self._stack[-1] is not None:
        items.append(self._stack.pop())
      if not self._stack:
        raise ValueError('its pickle is damaged')
      self._stack.pop()
      fixed -= 2
    for _ in range(fixed):
      items.append(self._top())
      self._stack.pop()
    return items[::-1]
