# SPDX-License-Identifier: Apache-2.0
"""``python -m ssvm_agent.payload``: how a bundle runs its own installer."""

from __future__ import annotations

import sys

from ssvm_agent.payload.cli import main

sys.exit(main())
