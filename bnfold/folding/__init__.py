"""Folding: the algebra, the tables of rules, the plan."""
