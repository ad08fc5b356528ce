"""A large piece of Python's stack, so that tracing maps no memory for frames.

Python maps its stack in pieces of 16 KB, and unmaps a piece as soon as no frame
is left in it. JAX traces some 80 frames deep: calls that go to and fro across
the edge of a piece took 15 % of the CPU time of a short job.
"""

from collections.abc import Callable

# Half of a piece of 1 MB: a piece is a power of 2, and holds a frame and more.
_WORDS = 1 << 16


def call(function: Callable, *arguments, **keywords):
  """Returns `function(*arguments, **keywords)`, whose frames share a piece.

  Args:
    function: called in the thread of the caller.
    *arguments: of the function.
    **keywords: of the function.
  """
  return function(*arguments, **keywords)


# This frame takes half of its piece, frames below it have the rest. Memory is
# used by the page, as frames write it.
call.__code__ = call.__code__.replace(co_stacksize=_WORDS)
