# SPDX-License-Identifier: Apache-2.0
"""The metrics of separated signals: each module here gives its own in ``METRICS``.

A module that is put here is found by itself. The heavy libraries are imported inside the functions
that need them, so that a worker process starts fast.
"""
