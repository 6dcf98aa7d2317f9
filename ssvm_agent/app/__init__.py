# SPDX-License-Identifier: Apache-2.0
"""The composition root: everything is built, run and stopped here, and only here."""
