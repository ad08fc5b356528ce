"""Show-o's sizes, the official scripts' samplers and the paper's settings.

Other configs import this file; it starts no job itself. Where numbers come
from:

  paper      HermesFlow, arXiv 2502.12148, section 4.1
  official   scripts and configs in the repository Gen-Verse/HermesFlow
  Show-o     arXiv 2408.12528, its code and its checkpoints
  ours       chosen here, with the reason beside it
"""


def caption_samplers():
  """Returns the official script's ten caption samplers, greedy first."""
  greedy = {'temperature': 1.0, 'top_k': 1}
  return [greedy] + [
    {'temperature': temperature, 'top_k': top_k}
    for top_k in (2, 3, 4)
    for temperature in (0.1, 0.7, 2.0)
  ]


def sampler(steps, guidance, temperature=1.0):
  """Returns settings for a MaskGIT sampler (arXiv 2202.04200)."""
  return {
    'steps': steps,  # Forward passes.
    'guidance': guidance,  # g of (1 + g) conditional - g unconditional logits.
    'temperature': temperature,  # Of the noise on the confidence.
    'schedule': 'cosine',  # Share of masked codes by step.
    'compounding': False,  # True: anneals as the official code does.
    'code_temperature': 1.0,  # Of the codes: the model's own distribution.
    # Fewer passes, off (docs/fewer_passes.md).
    'guided': (0.0, 1.0),  # Part of the steps with guidance.
    # Expected wrong codes that a step accepts beyond the schedule.
    'error_budget': 0.0,
  }


def search():
  """Returns settings for the search for the best drawing (docs/search.md)."""
  return {
    'candidates': 1,  # Drawings that an image is chosen from; 1: no search.
    # likelihood of the prompt; or with questions: answers, soft.
    'score': 'likelihood',
    # Thinning, e.g. ({'steps': 4, 'keep': 0.25},): after 4 steps a quarter of
    # the candidates goes on.
    'stages': (),
    'fill': 'likeliest',  # Codes of drafts; or sampled.
    'wave': 0,  # Candidates that are drawn at once; 0: all.
    'enough': None,  # Score at which a prompt gets no further wave.
  }


def answers():
  """Returns settings for learning from answers to the inputs' questions."""
  return {
    'weight': 0.0,  # 0: off, as in the paper.
    # Likelihood of right answers; pairs, right over wrong; grpo.
    'form': 'sft',
    'questions': 2,  # In a step, for each record of the batch.
    'confidence': 1.0,  # Most, in an answer that the frozen model is unsure of.
    'unsure_share': 1.0,  # Of a step, of such questions.
    'beta': 0.5,  # Of pairs.
    'wrong': 'likeliest',  # Answer of pairs; or random, own.
    'sft_weight': 0.0,  # Of right answers beside pairs or grpo.
  }


def image_sampler(pixels):
  """Returns Show-o's sampler for images of 256 or 512 px."""
  if pixels == 256:
    return sampler(steps=18, guidance=1.75)  # Show-o.
  return sampler(steps=50, guidance=5.0)  # Official.


def sizes(pixels):
  """Returns Show-o's sizes (1.4 B parameters) for 256 or 512 px."""
  side = pixels // 16  # The image tokenizer reduces each side by 16.
  codes = side * side
  return {
    # Phi-1.5's words, MAGVIT-v2's codes; 50256 ends a text (Show-o).
    'vocab': {'text_size': 50295, 'codebook_size': 8192, 'eos': 50256},
    # Phi-1.5 (Show-o); recomputed layers and bfloat16 as in official training.
    'decoder': {
      'width': 2048,
      'layers': 24,
      'heads': 32,
      'mlp': 8192,
      'remat': 'full',
      'dtype': 'bfloat16',
      'attention': 'auto',
    },
    # MAGVIT-v2 (showlab/magvitv2). Tuples: flags replace these, but no lists.
    'tokenizer': {
      'ch': 128,
      'encoder_ch_mult': (1, 2, 2, 4, 4),
      'decoder_ch_mult': (1, 1, 2, 2, 4),
      'encoder_num_res_blocks': (4, 3, 4, 3, 4),
      'decoder_num_res_blocks': (4, 4, 3, 4, 3),
      'z_channels': 13,
    },
    # Tokens of a row.
    'lengths': {
      'max_text': 128,  # Caption of a t2i row; official: max_seq_length.
      'mmu': codes + 131,  # Image, prompt and reply.
      'prompt': codes + 67,  # Image and prompt.
      'lm': 128,  # Text alone.
      'reply': 100,  # Official: max_new_tokens.
    },
    'grid': (side, side),
  }


def use_weights(config, pixels):
  """Makes a job start from Show-o's converted weights."""
  name = f'show_o_{pixels}'
  config.init_from = f'checkpoints/{name}'
  config.tokenizer = 'checkpoints/magvitv2'
  config.text = 'checkpoints/phi-1_5'
  config.missing = (
    'Convert Show-o first: python -m conversions.convert showo '
    f'showlab/show-o{"-512x512" if pixels == 512 else ""} '
    f'checkpoints/{name} && python -m conversions.convert magvitv2 '
    'showlab/magvitv2 checkpoints/magvitv2, and put the tokenizer files of '
    'microsoft/phi-1_5 into checkpoints/phi-1_5 (docs/conversion.md)'
  )
  config.sizes = sizes(pixels)
  # Rows that a device samples at once. Ours: the attention of one image of
  # 512 px keeps 0.6 GiB of scores at a time.
  config.chunk = 32 if pixels == 256 else 8


def use_paper_settings(config, pixels):
  """Changes the main job's config to the paper's, at 256 or 512 px."""
  play = config.play
  use_weights(config, pixels)

  # Data: JSON lines and images of your own.
  config.files = {
    split: {
      'annotations': f'data/{split}.jsonl',
      'images': 'data/images',
      'questions': '',  # A file of TIFA questions; '': they are in the records.
      'on_error': 'raise',
    }
    for split in ('inputs', 'held_out')
  }
  config.inputs = 5_000  # Paper.
  config.fresh_inputs = False  # Paper: the same inputs in every round.

  # Sampling.
  play.images = 16  # Candidates of a caption (paper).
  play.free_prompt = 'Question:{question} Choice:{choices}'  # Official.
  play.answer_matcher = 'sentence'  # Official; with free_answers.
  play.curation_sampler = image_sampler(pixels)
  play.evaluation_sampler = image_sampler(pixels)

  # Pairs.
  play.caption_scorer = 'bert'  # Paper; ngram needs no encoder.
  play.shard = 50  # Inputs; ours: a stop costs at most a shard.
  play.rules.both = False  # An input with one pair teaches that task.
  config.official = True  # Pairs also in the official form, with PNG files.

  # Learning.
  play.objective.update(
    {
      'beta': 0.2,  # Official.
      'und_sft_weight': 0.0,  # The paper has no SFT terms.
      'gen_sft_weight': 0.0,
      'masks': 1,
      'drop_condition': 0.1,  # Official: cond_dropout_prob.
    }
  )
  play.epochs = 0.0  # Steps alone end a round.
  play.optim.lr = 2e-5  # Official.
  play.optim.steps = 3_000  # Of a round; official: checkpoint-3000.
  play.batch = 32  # Records of up to two pairs: 4 on each of 8 GPUs (paper).
  # Ours: a third of an image's codes are shown, so some chunks of this size
  # have no label and are left out.
  play.label_rows = 256

  # Evaluation.
  config.unseen = 0  # Files: held-out records with new captions are counted.

  # Logging, in steps; ours.
  play.save_every = play.sample_every = 250
