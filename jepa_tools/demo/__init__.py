"""The simulated arm goes to an image goal: `jepa demo`."""
