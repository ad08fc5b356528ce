"""Token sequences: vocabulary, rows, attention mask, mask schedule."""
