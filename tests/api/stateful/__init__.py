"""A model of what the admin API promises, and a machine that does to a real server whatever a day may bring."""
