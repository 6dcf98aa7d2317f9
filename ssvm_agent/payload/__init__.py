# SPDX-License-Identifier: Apache-2.0
"""The agent as something to install: made from this project, put in place in a system VM.

Two halves that share the manifest: the builder works on a checkout, the installer on a machine,
with nothing but the Python that lies in the bundle. Neither knows how a bundle travels.
"""
