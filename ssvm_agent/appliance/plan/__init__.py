# SPDX-License-Identifier: Apache-2.0
"""The declared machine: what a boot text asks of interfaces, names, routes and filter. Pure."""
