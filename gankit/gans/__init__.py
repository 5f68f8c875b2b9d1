"""One file per GAN: what it computes, as a :class:`gankit.training.Step`."""
