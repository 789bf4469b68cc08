"""`jepa view`: what the robot sees, wants and imagines, in a browser."""
