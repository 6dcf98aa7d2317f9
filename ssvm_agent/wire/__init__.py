# SPDX-License-Identifier: Apache-2.0
"""Bytes and events of the link to the management server; no I/O, both roles."""
