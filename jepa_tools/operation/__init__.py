"""Works with running nodes as a person at the table does: scenes, pictures, goals, and what became of them."""
