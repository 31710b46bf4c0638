"""From an action chunk to a safe target: chunk executor, safety filter, collision check, control loop."""
