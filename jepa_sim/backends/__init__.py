"""Simulators behind one protocol.

`protocol` says what a simulator can do; `own_simulator` is this package's, in process. `gazebo_classic` speaks the
services of `gazebo_msgs`, `simulation_interfaces` those of the package of that name: each module has a client, which
is a simulator elsewhere, and a server, which lets any simulator be driven with those services.
"""
