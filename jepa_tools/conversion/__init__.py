"""Between bags, LeRobot datasets and training episodes: `jepa convert`."""
