"""Applications: their records, rules, and registry."""
