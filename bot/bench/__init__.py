"""The measurements behind `heed bench`: the engine, the program, and the walk."""
