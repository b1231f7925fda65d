"""Pass 1: one module a group of Safe Harbor classes."""
