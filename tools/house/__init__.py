"""The parts of tools/check_budgets.py: reading the source, measuring it, and the rules."""
