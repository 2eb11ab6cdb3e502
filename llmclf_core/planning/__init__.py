"""What a training will take: parameters, memory, time; and whether that is there.

A few layers of the base with random weights are trained for a few steps by the training's own code,
in processes of their own; what that takes grows linearly with the number of layers.
"""
