"""The World-Value-Action model: networks, planner, data, training, engines. No ROS, no CAN, no simulator."""
