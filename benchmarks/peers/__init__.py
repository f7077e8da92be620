"""What an engineer might build instead. Each does the work of ours: the same table, answer and durability."""
