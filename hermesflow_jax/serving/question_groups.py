"""Groups questions by image into batches of few shapes."""

from collections.abc import Hashable
from collections.abc import Sequence

import numpy as np

# Questions about the same image that share the computation of their image.
SIZES = (1, 4)


def padded_count(count: int, sizes: Sequence[int]) -> int:
  """Returns the smallest size that holds a number of rows.

  Args:
    count: number of rows, at least 1.
    sizes: sizes, increasing; beyond the last the count stays.
  """
  return next((size for size in sizes if size >= count), count)


def grouped(
  images: Sequence[Hashable],
  image_tokens: int,
  question_tokens: int,
  sizes: Sequence[int],
) -> np.ndarray:
  """Groups questions about the same image; one of SIZES costs the least.

  Args:
    images: name of the image of each question.
    image_tokens: tokens of an image.
    question_tokens: tokens of a question with its reply, about.
    sizes: numbers of groups that are compiled, increasing.

  Returns:
    int[G, Q], question numbers of each group; padding repeats questions.

  >>> grouped(['a', 'b', 'a', 'a'], 100, 10, (1, 2, 8)).tolist()
  [[0, 2, 3, 3], [1, 1, 1, 1]]
  >>> grouped(['a', 'b'], 100, 10, (1, 4, 8)).tolist()
  [[0], [1], [1], [1]]
  """
  of_image = {}
  for number, image in enumerate(images):
    of_image.setdefault(image, []).append(number)

  def groups_of(size):
    rows = [
      (numbers[begin : begin + size] + [numbers[-1]] * size)[:size]
      for numbers in of_image.values()
      for begin in range(0, len(numbers), size)
    ]
    count = padded_count(len(rows), sizes)
    return np.array(rows + rows[-1:] * (count - len(rows)))

  def cost(groups):
    count, size = groups.shape
    return count * (image_tokens + size * question_tokens)

  plain, *shared = map(groups_of, SIZES)
  # Larger batches are not compiled.
  shared = [groups for groups in shared if groups.size <= sizes[-1]]
  return min([plain, *shared], key=cost)
