"""Starting the system: launch arguments, the node table, where files lie, process supervision. No ROS imports."""
