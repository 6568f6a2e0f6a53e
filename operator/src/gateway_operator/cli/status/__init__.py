"""The command ``kubectl gateway status``: the state of a gateway's backups in one answer."""
