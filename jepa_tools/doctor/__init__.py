"""Examines the installation and what runs, and says what to do: `jepa doctor`."""
