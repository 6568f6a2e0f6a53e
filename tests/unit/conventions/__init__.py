"""Conventions that a program can check: language, names, sizes of files and folders."""
