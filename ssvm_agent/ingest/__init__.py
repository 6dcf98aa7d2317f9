# SPDX-License-Identifier: Apache-2.0
"""Bring one image into a store in one pass."""
