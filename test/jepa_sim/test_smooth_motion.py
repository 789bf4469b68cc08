"""The environment's smooth motion: states that only rounding errors keep from rest."""

from __future__ import annotations

import numpy as np

from jepa_sim.smooth_motion import MotionState, SmoothMotion

# Seen in an evaluation: ruckig refuses it as it stands.
POSITIONS = np.array(
    [
        0.08682622436182121,
        0.5652359777908361,
        0.07668324334994585,
        -1.741901845896204,
        -0.08264921107386083,
        2.253676717264921,
        0.9549193321567698,
    ]
)
DUST = np.array(
    [
        -2.498001805406602e-16,
        1.734723475976807e-16,
        3.677613769070831e-16,
        2.775557561562891e-17,
        1.665334536937735e-16,
        0.0,
        2.775557561562891e-17,
    ]
)


def test_rounding_errors_in_the_velocities_do_not_stop_the_motion() -> None:
    motion = SmoothMotion()
    motion.continue_from(MotionState(POSITIONS, DUST, np.zeros(7)))
    path = motion.move(POSITIONS, np.array([0.1, 0.25]))
    np.testing.assert_allclose(path, [POSITIONS, POSITIONS], atol=1e-9)
