"""The simulation: a whole Heed in virtual time, in a world that a seed has drawn."""
