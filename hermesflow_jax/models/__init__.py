"""Neural networks: parameters and forward passes, without sampling or losses.

Show-o is a Phi decoder over text and image tokens; MAGVIT-v2 converts images
to tokens and back; CLIP provides the features of a Show-o variant; LoRA adds
adapters to the decoder. Weights from PyTorch are converted elsewhere.
"""
