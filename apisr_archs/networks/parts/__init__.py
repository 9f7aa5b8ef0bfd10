"""Code that several networks share: layers, memory layout, padding, windows, row strips, upsampling tail, means."""
