# SPDX-License-Identifier: Apache-2.0
"""ssvm-check: what is wrong, how it was found, what to do."""
