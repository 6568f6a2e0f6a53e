"""Lets `python -m gateway_api` be the command `gateway-admin`."""

import sys

from .cli import main

sys.exit(main())
