"""What several networks share: layers, memory layout, padding, windows, row strips, the upsampling tail, means."""
