"""Models: the Show-o transformer, MAGVIT-v2, CLIP, LoRA."""
