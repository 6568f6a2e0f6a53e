"""Unit tests of the commands that run in a drill pod."""
