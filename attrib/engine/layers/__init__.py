"""What happens at a layer inside a model: activations, gradients, and layers whose positions are the input's."""
