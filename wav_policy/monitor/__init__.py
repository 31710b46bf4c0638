"""One page in the browser: what the robot does, sees, imagines and thinks; and the buttons. No ROS in here."""
