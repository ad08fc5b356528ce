"""An endpoint that judges images of the small Show-o, and dies once."""

import json
import shutil

import chat_server
import small_encoders
import small_walk

MODEL = 'small-judge'
# Replies before the endpoint dies, among the candidates of round 1.
REPLIES = 20
SCORED = (
  '--config.play.caption_scorer=bert',
  '--config.play.answer_matcher=sentence',
  '--config.play.free_answers=True',
  '--config.play.encoders.bert=small/checkpoints/bert',
  '--config.play.encoders.sentence=small/checkpoints/mpnet',
)
# Written before the run resumes: requests by start, and pairs of round 1.
COUNTS, FIRST_PAIRS = 'judge_requests.json', 'pairs_before_the_stop.jsonl'


def reply(text: str) -> str:
  """Returns the reply to a request, by a fixed rule of its question."""
  question, _, choices = text.partition('\nChoices: ')
  choices = choices.split(', ')
  return f'{choices[len(question) % len(choices)]}!'


def convert_encoders(walk: small_walk.Walk) -> None:
  """Converts the encoders of SCORED."""
  for name in small_encoders.CONFIGS:
    walk.convert(name, f'small/{name}', f'small/checkpoints/{name}')


def play(walk: small_walk.Walk) -> None:
  """Plays two rounds; the judge dies in the first, and the run resumes."""
  rounds = walk.folder / 'runs' / 'pair_dpo' / 'round_1'
  with chat_server.Server(answer=lambda body: reply(question(body))) as server:
    flags = (
      *small_walk.QUICK,
      *SCORED,
      '--config.judge.kind=endpoint',
      f'--config.judge.url={server.url}',
      f'--config.judge.model={MODEL}',
      '--config.judge.parallel=1',
      '--config.judge.retries=0',
    )
    answer = server.answer

    def die(body):
      if len(server.bodies) == 1 + REPLIES:
        # After the probe and these replies, a request gets none.
        server.faults.append((0, {}, ''))
      return answer(body)

    server.answer = die
    walk.job('pair_dpo', *flags, code=1)
    shutil.copy(rounds / 'pairs.jsonl', walk.folder / FIRST_PAIRS)
    counts = [len(server.bodies)]
    server.answer = answer
    walk.job('pair_dpo', *flags)
    counts.append(len(server.bodies) - counts[0])
    distinct = len({json.dumps(body) for body in server.bodies})
  (walk.folder / COUNTS).write_text(
    json.dumps({'requests': counts, 'distinct': distinct})
  )


def question(body: dict) -> str:
  """Returns the words of a request."""
  return body['messages'][0]['content'][-1]['text']
