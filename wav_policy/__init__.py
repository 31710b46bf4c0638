"""Real-time control of a bimanual AgileX Piper robot with the WAV model. Only `wav_policy.nodes` imports rclpy."""
