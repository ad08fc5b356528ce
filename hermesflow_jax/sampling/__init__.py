"""Samplers: images by MaskGIT, text token by token, answers."""
