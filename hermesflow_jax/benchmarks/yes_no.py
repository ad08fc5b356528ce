"""Yes or no: parsers of replies, and scores in which 'yes' is positive."""

from collections.abc import Sequence
import dataclasses

from hermesflow_jax.benchmarks import vlmevalkit


def official(reply: str) -> str:
  """Parses a reply as POPE's own script does: no 'no' means yes.

  Args:
    reply: text of the model.

  Returns:
    'no' if the text before the first '.' has the word No, no or not; else
    'yes'.
  """
  words = reply.split('.')[0].replace(',', '').split(' ')
  return 'no' if {'No', 'no', 'not'} & set(words) else 'yes'


def exact(reply: str) -> str:
  """Parses a reply as lmms-eval does: the whole text is the answer.

  Args:
    reply: text of the model.
  """
  return reply.lower().strip()


def extracted(reply: str) -> str:
  """Parses a reply as VLMEvalKit does without a language model.

  Args:
    reply: text of the model.

  Returns:
    'yes' or 'no' if the reply has one of these words and not the other; else
    'unknown'.
  """
  words = {'yes', 'no'} & set(vlmevalkit.plain_words(reply))
  return words.pop() if len(words) == 1 else 'unknown'


@dataclasses.dataclass(frozen=True)
class Counts:
  """Counts of parsed answers, from which the scores of POPE derive.

  Attributes:
    true_yes: 'yes' for yes.
    false_yes: 'yes' for no.
    true_no: 'no' for no.
    missed: all but 'yes' for yes.
    rows: all questions; an answer that is neither counts as wrong.
    denied: 'no' for yes.
    yes: questions whose right answer is yes.
  """

  true_yes: int
  false_yes: int
  true_no: int
  missed: int
  rows: int
  denied: int
  yes: int

  @property
  def accuracy(self) -> float:
    """Share of right answers, 0 to 1."""
    return _ratio(self.true_yes + self.true_no, self.rows)

  @property
  def precision(self) -> float:
    """Share of yes among the answers 'yes'; 0 without such an answer."""
    return _ratio(self.true_yes, self.true_yes + self.false_yes)

  @property
  def recall(self) -> float:
    """Share of 'yes' among the questions with yes."""
    return _ratio(self.true_yes, self.true_yes + self.missed)

  @property
  def f1(self) -> float:
    """Harmonic mean of precision and recall; 0 if both are 0."""
    return _ratio(
      2 * self.precision * self.recall, self.precision + self.recall
    )

  @property
  def yes_ratio(self) -> float:
    """Share of answers 'yes'."""
    return _ratio(self.true_yes + self.false_yes, self.rows)

  def percentages(self) -> dict[str, float]:
    """Returns all scores in percent, in the order of POPE's table."""
    names = ('accuracy', 'precision', 'recall', 'f1', 'yes_ratio')
    return {name: 100 * getattr(self, name) for name in names}

  def lmms_eval_percentages(self) -> dict[str, float]:
    """Returns all scores in percent as lmms-eval counts them.

    Its recall and F1 leave out questions that are answered by neither yes nor
    no, and its ratio of yes is that of the right answers.
    """
    recall = _ratio(self.true_yes, self.true_yes + self.denied)
    f1 = _ratio(2 * self.precision * recall, self.precision + recall)
    return self.percentages() | {
      'recall': 100 * recall,
      'f1': 100 * f1,
      'yes_ratio': 100 * _ratio(self.yes, self.rows),
    }


def count(answers: Sequence[str], labels: Sequence[str]) -> Counts:
  """Counts answers.

  Args:
    answers: parsed answers; others than 'yes' and 'no' are wrong.
    labels: right answers, 'yes' or 'no'.
  """
  pairs = list(zip(answers, labels, strict=True))
  return Counts(
    true_yes=pairs.count(('yes', 'yes')),
    false_yes=pairs.count(('yes', 'no')),
    true_no=pairs.count(('no', 'no')),
    missed=sum(label == 'yes' != answer for answer, label in pairs),
    rows=len(pairs),
    denied=pairs.count(('no', 'yes')),
    yes=sum(label == 'yes' for label in labels),
  )


def _ratio(part, of) -> float:
  return part / of if of else 0.0
