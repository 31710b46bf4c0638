"""ROS clients of the nodes: of the whole system, of the recorder."""
