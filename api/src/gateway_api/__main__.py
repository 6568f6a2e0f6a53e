"""Lets `python -m gateway_api` be the command `gateway-admin`."""

import sys

from gateway_api.cli import main

sys.exit(main())
