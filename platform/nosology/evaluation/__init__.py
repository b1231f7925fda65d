"""How well: metrics with their uncertainty, codes against gold, and the report that a person reads."""
