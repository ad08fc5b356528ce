"""Answers as the VQA scorer compares them: punctuation, numbers, articles.

Official rules of GT-Vision-Lab/VQA; lmms-eval uses the same.
"""

from collections.abc import Sequence
import re

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r'\d,\d')
# A period that no digit follows; the script hands a flag in place of the count.
_PERIOD = re.compile(r'\.(?!\d)')
_MOST_PERIODS = int(re.UNICODE)
_NUMBERS = {
  'none': '0',
  'zero': '0',
  'one': '1',
  'two': '2',
  'three': '3',
  'four': '4',
  'five': '5',
  'six': '6',
  'seven': '7',
  'eight': '8',
  'nine': '9',
  'ten': '10',
}
_ARTICLES = ('a', 'an', 'the')
# Words as people write them, and what the script makes of them.
_PAIRS = """
aint=ain't arent=aren't cant=can't couldve=could've couldnt=couldn't
couldn'tve=couldn't've couldnt've=couldn't've didnt=didn't doesnt=doesn't
dont=don't hadnt=hadn't hadnt've=hadn't've hadn'tve=hadn't've hasnt=hasn't
havent=haven't hed=he'd hed've=he'd've he'dve=he'd've hes=he's howd=how'd
howll=how'll hows=how's isnt=isn't itd=it'd itd've=it'd've it'dve=it'd've
itll=it'll maam=ma'am mightnt=mightn't mightnt've=mightn't've
mightn'tve=mightn't've mightve=might've mustnt=mustn't mustve=must've
neednt=needn't notve=not've oclock=o'clock oughtnt=oughtn't ow's'at='ow's'at
'ows'at='ow's'at 'ow'sat='ow's'at shant=shan't shed've=she'd've
she'dve=she'd've shouldve=should've shouldnt=shouldn't shouldnt've=shouldn't've
shouldn'tve=shouldn't've somebody'd=somebodyd somebodyd've=somebody'd've
somebody'dve=somebody'd've somebodyll=somebody'll somebodys=somebody's
someoned=someone'd someoned've=someone'd've someone'dve=someone'd've
someonell=someone'll someones=someone's somethingd=something'd
somethingd've=something'd've something'dve=something'd've
somethingll=something'll thats=that's thered=there'd thered've=there'd've
there'dve=there'd've therere=there're theres=there's theyd=they'd
theyd've=they'd've they'dve=they'd've theyll=they'll theyre=they're
theyve=they've twas='twas wasnt=wasn't wed've=we'd've we'dve=we'd've weve=we've
werent=weren't whatll=what'll whatre=what're whats=what's whatve=what've
whens=when's whered=where'd wheres=where's whereve=where've whod=who'd
whod've=who'd've who'dve=who'd've wholl=who'll whos=who's whove=who've
whyll=why'll whyre=why're whys=why's wont=won't wouldve=would've
wouldnt=wouldn't wouldnt've=wouldn't've wouldn'tve=wouldn't've yall=y'all
yall'll=y'all'll y'allll=y'all'll yall'd've=y'all'd've y'alld've=y'all'd've
y'all'dve=y'all'd've youd=you'd youd've=you'd've you'dve=you'd've youll=you'll
youre=you're youve=you've
"""
_CONTRACTIONS = dict(pair.split('=') for pair in _PAIRS.split())


def trim(answer: str) -> str:
  """Returns an answer without line ends and tabs, and without outer spaces."""
  return answer.replace('\n', ' ').replace('\t', ' ').strip()


def normalize(answer: str) -> str:
  """Returns the normal form of an answer.

  Args:
    answer: a text from `trim`.
  """
  text, in_number = answer, _COMMA_IN_NUMBER.search(answer)
  for mark in _PUNCTUATION:
    beside_space = f'{mark} ' in answer or f' {mark}' in answer
    text = text.replace(mark, '' if beside_space or in_number else ' ')
  text = _PERIOD.sub('', text, count=_MOST_PERIODS)
  words = [_NUMBERS.get(word, word) for word in text.lower().split()]
  return ' '.join(
    _CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES
  )


def accuracy(reply: str, answers: Sequence[dict], always: bool) -> float:
  """Returns the VQA accuracy of a reply: 1 if three people said it.

  The mean over the people of min(1, others with this answer / 3).

  Args:
    reply: text of the model.
    answers: what people answered, mappings with `answer`; two that are equal in
      all their values count as one person, as in the script.
    always: whether to normalize also where all people agree, as lmms-eval does.
  """
  reply = trim(reply)
  answers = [{**a, 'answer': trim(a['answer'])} for a in answers]
  if always or len({a['answer'] for a in answers}) > 1:
    reply = normalize(reply)
    answers = [{**a, 'answer': normalize(a['answer'])} for a in answers]
  shares = []
  for person in answers:
    others = [a for a in answers if a != person]
    matches = sum(a['answer'] == reply for a in others)
    shares.append(min(1, matches / 3))
  return sum(shares) / len(shares)
