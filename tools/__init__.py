"""Programs that set the project up and check it. They are not part of the distribution."""
