# SPDX-License-Identifier: Apache-2.0
"""One function per command: check and translate, one domain call, translate back."""
