"""cuDNN's calls are traced and lowered as if there were a GPU; not run."""

from jax._src.cudnn import fused_attention_stablehlo

_ANSWERS = {
  'check_cudnn_version': 91500,
  'check_compute_capability': True,
  'is_cuda_compute_capability_equal': False,
}


def patch(monkeypatch):
  """Lets JAX believe that a GPU with a recent cuDNN is there."""
  for name, answer in _ANSWERS.items():
    monkeypatch.setattr(
      fused_attention_stablehlo, name, lambda *a, v=answer, **k: v
    )
