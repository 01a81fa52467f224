"""Problems that several experiments learn: images with tasks, domains, class and property."""
