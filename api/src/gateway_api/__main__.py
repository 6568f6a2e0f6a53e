"""Makes `python -m gateway_api` equal to the command `gateway-admin`."""

import sys

from gateway_api.cli import main

sys.exit(main())
