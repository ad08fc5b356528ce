"""Homologous preference pairs: candidates, scores, winners and losers."""
