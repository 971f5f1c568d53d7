"""Densities fitted to a trained model's codes, to draw from in place of N(0, I)."""
