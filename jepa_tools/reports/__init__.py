"""What all reports have in common: one page without references, one look, charts and grids of pictures."""
