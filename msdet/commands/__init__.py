# SPDX-License-Identifier: Apache-2.0
"""One module a command, each with the settings of its own; ``run(values)`` runs it."""
