"""The models: an image tokenizer, a text decoder, their union."""
