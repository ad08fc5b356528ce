"""Homologous preference pairs: candidates, scores, winner and loser."""
