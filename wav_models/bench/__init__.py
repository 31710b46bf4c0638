"""What a plan costs: counted from the shapes, and measured on this machine."""
