"""The supervisor's state machine: its table, rules, events and effects, and the explanations made of them."""
