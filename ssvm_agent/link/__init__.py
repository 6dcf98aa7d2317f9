# SPDX-License-Identifier: Apache-2.0
"""The asyncio side of the connection to the management server."""
