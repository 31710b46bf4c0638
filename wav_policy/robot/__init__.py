"""What the machine is: joints, kinematics, the model of the cell, its description. Nothing of a simulator."""
