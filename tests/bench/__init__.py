"""Figures: what is measured here is printed, never asserted."""
