"""The networks of WAV."""
