"""Planning and motion: solvers, receding horizon, kinematics, trajectories, the safety filter."""
