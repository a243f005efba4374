"""Records of other systems, carried in through the same commands as everything else."""
