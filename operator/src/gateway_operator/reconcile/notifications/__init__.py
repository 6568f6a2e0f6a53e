"""Delivers the notifications of watched objects to their receivers."""
