# SPDX-License-Identifier: Apache-2.0
"""What the boot text makes of the machine: declared, compared, applied."""
