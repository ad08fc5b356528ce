"""Names of answers in the argument `answers` of `DrawingBenchmark.score`."""


def real_image(file: str) -> str:
  """Returns the name of answers of the model about a real image.

  Args:
    file: path of the drawing of its row.
  """
  return f'real/{file}'


def own_answers(file: str) -> str:
  """Returns the name of answers of the model about its own drawing.

  Args:
    file: path of the drawing.
  """
  return f'own/{file}'


def probability(question: str) -> str:
  """Returns the name of the probability of the right answer to a question.

  Args:
    question: id of the question.
  """
  return f'{question}/probability'
