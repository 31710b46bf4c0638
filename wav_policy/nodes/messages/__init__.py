"""Between ROS messages and the project's own types."""
