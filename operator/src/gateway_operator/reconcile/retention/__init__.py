"""The periodic retention pass: list the objects, plan per set, delete, write the status."""
