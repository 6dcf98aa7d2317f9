# SPDX-License-Identifier: Apache-2.0
"""Stores, mounts, paths, properties, listings: the state of secondary storage."""
