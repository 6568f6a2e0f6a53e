"""Unit tests of the operator's notifications."""
