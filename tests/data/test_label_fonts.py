"""Labels are drawn with letters or escapes, never with boxes."""

import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.data import image_writer
from hermesflow_jax.data import label_fonts


@pytest.mark.parametrize(
  'label, escaped',
  [
    ('a red ring', 'a red ring'),
    ('红 ring', r'\u7ea2 ring'),
    ('حلقة', r'\u062d\u0644\u0642\u0629'),
    ('a 😀 ❤\ufe0f', r'a \U0001f600 \u2764'),
    ('👩\u200d👧', r'\U0001f469\U0001f467'),
    ('नमस्ते', r'\u0928\u092e\u0938\u0924'),
    ('a\nb', 'a b'),
  ],
)
def test_what_no_font_has_is_escaped(label, escaped):
  assert label_fonts.fit_label(label, 14, ())[1] == escaped


@pytest.mark.parametrize(
  'label', ['un café', '红色 ring', 'حلقة', '😀', '', 'Ω→ж']
)
def test_a_label_has_only_glyphs_of_its_font(label):
  font, text = label_fonts.fit_label(label, 14)
  # Joiners and marks have no glyph of their own.
  assert all(label_fonts._has_glyph(font, character) for character in text)


def test_the_first_font_that_has_all_characters_is_taken(monkeypatch):
  def has_glyph(font, character):
    return character == 'a' or font == 'chinese'

  monkeypatch.setattr(label_fonts, '_has_glyph', has_glyph)
  fonts = {'': 'own', 'absent': None, 'latin': 'latin', 'han': 'chinese'}
  monkeypatch.setattr(label_fonts, '_load', lambda name, size: fonts[name])
  names = ('absent', 'latin', 'han')
  assert label_fonts.fit_label('a', 14, names) == ('own', 'a')
  assert label_fonts.fit_label('a 红', 14, names) == ('chinese', 'a 红')


def test_a_sheet_takes_labels_of_any_length_and_language(tmp_path):
  rows = [[np.zeros((32, 32, 3), np.uint8)]] * 3
  labels = ['红' * 10_000, '', 'a\nb\tc']
  image_writer.contact_sheet(tmp_path / 'sheet.png', rows, labels)
  with Image.open(tmp_path / 'sheet.png') as page:
    assert page.width < 200
