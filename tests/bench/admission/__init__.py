"""Attacks by one peer without a key, and what they cost the server and its other clients."""
