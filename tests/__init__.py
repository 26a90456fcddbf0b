# SPDX-License-Identifier: Apache-2.0
"""Tests; a package, so that files of one name may live in several folders."""
