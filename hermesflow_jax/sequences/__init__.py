"""Token sequences: from text and image codes to rows for the transformer.

A row holds text tokens, special tokens and image codes of a single vocabulary,
together with its labels and the blocks of its attention mask. The modules
build the rows of each task on the host and define the attention mask and the
mask schedules of MaskGIT.
"""
