# SPDX-License-Identifier: Apache-2.0
"""JSON of commands and answers as typed structs; pure data."""
