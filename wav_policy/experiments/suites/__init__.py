"""Other people's benchmarks: their environments in processes and virtual environments of their own."""
