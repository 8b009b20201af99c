"""The house itself: budgets, layers, start-up, the lock, the scripts and the pages."""
