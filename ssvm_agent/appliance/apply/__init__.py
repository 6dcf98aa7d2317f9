# SPDX-License-Identifier: Apache-2.0
"""Makes the machine what its plan says: compares, changes what differs, can take it back."""
