"""The linter's rules: one table of two parts.

    from edge_deeplab.converters.linting.lint_rules import RULES

A rule has a measured cost (lint_costs.json, by its id) or a source, most have both. To add one: a function
subject -> places and an entry in lint_risk.py or lint_speed.py, and a pair of small models in tests/lint_pairs.py,
which its test and benchmarks/lint_costs.py both use.
"""

from __future__ import annotations

from edge_deeplab.converters.linting import lint_risk, lint_speed

RULES = (*lint_risk.RULES, *lint_speed.RULES)
